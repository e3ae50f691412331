"""How long ago interactions happened, as a relation of the graph."""

import numpy as np
import scipy.sparse as sp

from mmgraph.data.split import HISTORY, TRAIN, Split
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation

DAY = 86_400  # seconds


def with_ages(graph: Graph, split: Split) -> Graph:
    """The graph with the relation (user, age, item): days from an interaction to the last one in training.

    Zero for the last one, and negative for history that was revealed after it. When held-out interactions happened is
    not read.

    Args:
        graph: the training graph of the split, which gets the ages of the training interactions, or its full graph,
            which gets those of the history too.
        split: with the times.

    Raises:
        ValueError: if the data have no times.
    """
    data, train = split.data, split.part == TRAIN
    if "time" not in data.interactions.column_names:
        raise ValueError(f"the ages of interactions need their times, and the data have only the columns "
                         f"{data.interactions.column_names}; name the column, e.g. from_frames(..., time='timestamp').")
    time = data.interactions["time"].to_numpy()
    known = (train | (split.part == HISTORY)) & (data.user < graph.n_users) & (data.item < graph.n_items)
    age = ((time[train].max() - time[known]) / DAY).astype(np.float32)
    matrix = sp.csr_array((age, (data.user[known], data.item[known])), shape=(graph.n_users, graph.n_items))
    return graph.with_relation("age", Relation.of("user", "age", "item", matrix).to(graph.device))

from dataclasses import replace

import numpy as np
import planted
import pyarrow as pa
import pytest

from mmgraph.data import ColdUsers, Dataset, Split
from mmgraph.data.split import HISTORY, TEST, TRAIN, VALID
from mmgraph.graph.ages import with_ages
from mmgraph.graph.graph import full_graph, train_graph

DAY = 86_400


def split_of(rows):
    """Rows (user, item, day, part), with users and items in the order in which they first come."""
    users, items, days, parts = zip(*rows, strict=True)
    frame = pa.table({"user": users, "item": items, "time": [round(DAY * day) for day in days]})
    data = Dataset.from_frames(frame, time="time")
    return Split(data, np.array(parts), "by hand", {}, 0)


# already in the order of the numbers; user 2 and item 2 are cold
ROWS = [(0, 0, 10, TRAIN), (0, 1, 12.5, TRAIN), (1, 0, 20, TRAIN), (1, 1, 30, VALID), (1, 2, 40, TEST),
        (2, 0, 15, HISTORY), (2, 1, 25, HISTORY), (2, 2, 50, VALID)]


def ages(graph):
    age = graph["age"]
    return {tuple(edge): weight for edge, weight in zip(age.edges.T.tolist(), age.weight.tolist(), strict=True)}


def test_days_to_the_last_interaction_in_training():
    split = split_of(ROWS)
    assert ages(with_ages(train_graph(split), split)) == {(0, 0): 10, (0, 1): 7.5, (1, 0): 0}


def test_a_full_graph_gets_the_ages_of_the_history_too():
    split = split_of(ROWS)
    graph = with_ages(full_graph(split), split)
    assert ages(graph) == {(0, 0): 10, (0, 1): 7.5, (1, 0): 0, (2, 0): 5, (2, 1): -5}
    assert (graph["age"].n_source, graph["age"].n_target) == (3, 3)
    assert graph.interactions is graph.relations["user", "interacts", "item"]


def test_held_out_times_are_not_read():
    moved = split_of([(u, i, day if part in (TRAIN, HISTORY) else day + 99, part) for u, i, day, part in ROWS])
    split = split_of(ROWS)
    assert ages(with_ages(full_graph(moved), moved)) == ages(with_ages(full_graph(split), split))


def test_every_known_interaction_has_an_age_and_no_other():
    split = Split.of(planted.dataset(), ColdUsers(reveal=3), seed=0)
    for graph in (train_graph(split), full_graph(split)):
        aged = with_ages(graph, split)
        assert aged["age"].edges.tolist() == graph.interactions.edges.tolist()
        assert "age" not in graph
    ids = split.data.users.ids.to_pylist(), split.data.items.ids.to_pylist()
    for (u, i), age in ages(aged).items():
        newest = min(planted.age(int(ids[0][a]) - 100, int(ids[1][b]) - 200)
                     for a, b in zip(*split.train, strict=True))
        assert age == planted.age(int(ids[0][u]) - 100, int(ids[1][i]) - 200) - newest


def test_data_without_times_are_refused():
    split = split_of(ROWS)
    timeless = replace(split.data, interactions=pa.table({n: split.data.interactions[n] for n in ("user", "item")}))
    with pytest.raises(ValueError, match=r"need their times, .* only the columns \['user', 'item'\]; name the column"):
        with_ages(train_graph(split), replace(split, data=timeless))

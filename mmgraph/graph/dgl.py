"""Round trip between `Graph` and DGL's heterogeneous graph (extra ``dgl``)."""

import os
import sys
from types import ModuleType
from typing import Any

import torch

from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation


def to_dgl(graph: Graph) -> Any:
    """A ``dgl.DGLGraph`` on the graph's device: same node counts and relations, weights in ``edata["weight"]``.

    Raises:
        ImportError: if DGL is not installed.
    """
    dgl = import_dgl()
    ends = {key: tuple(relation.edges) for key, relation in graph.relations.items()}
    made = dgl.heterograph(ends, num_nodes_dict=dict(graph.n_nodes), device=graph.device)
    for key, relation in graph.relations.items():
        made.edges[key].data["weight"] = relation.weight
    return made


def from_dgl(made: Any) -> Graph:
    """The inverse of `to_dgl`; an edge type without ``edata["weight"]`` gets weight 1, duplicate edges are summed.

    Raises:
        ValueError: if there is no relation ("user", "interacts", "item").
    """
    n_nodes = {kind: made.num_nodes(kind) for kind in made.ntypes}
    relations = {}
    for source, name, target in made.canonical_etypes:
        key = (source, name, target)
        edges = torch.stack(made.edges(etype=key, order="eid"))
        relation = Relation.from_edges(*key, n_nodes[source], n_nodes[target], edges,
                                       made.edges[key].data.get("weight"))
        relations[key] = relation.to(made.device)
    return Graph(n_nodes, relations)


def import_dgl() -> ModuleType:
    """DGL without its graphbolt sampler.

    DGL's last wheel (2.1) is older than current torch. Its message passing works all the same, but ``dgl/__init__``
    also imports ``dgl.graphbolt``, whose C++ library exists only for the torch versions of its day. An empty module
    stands in for it, so nothing of DGL but graphbolt is missing.

    Raises:
        ImportError: if DGL is not installed.
    """
    os.environ.setdefault("DGLBACKEND", "pytorch")  # otherwise DGL asks, and writes a file into the home folder
    absent = "dgl" not in sys.modules and "dgl.graphbolt" not in sys.modules
    if absent:
        sys.modules["dgl.graphbolt"] = ModuleType("dgl.graphbolt", "Stands in for the sampler; see mmgraph.graph.dgl.")
    try:
        import dgl
    except ImportError as error:
        if absent:
            del sys.modules["dgl.graphbolt"]
        raise ImportError(f'DGL cannot be imported ({error}); install it with: pip install "mmgraph[dgl]"') from error
    return dgl

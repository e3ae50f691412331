"""Round trips between `Graph` and SciPy, PyG and NetworkX. For DGL see `mmgraph.graph.dgl`."""

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import scipy.sparse as sp
import torch

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph, RelationKey
from mmgraph.graph.relation import Relation

if TYPE_CHECKING:
    import networkx as nx
    from torch_geometric.data import HeteroData


def to_scipy(graph: Graph) -> dict[RelationKey, sp.csr_array]:
    """One matrix of shape (sources, targets) per relation, float32; a copy."""
    return {key: relation.scipy().copy() for key, relation in graph.relations.items()}


def from_scipy(matrices: Mapping[RelationKey, sp.sparray], n_nodes: Mapping[str, int] | None = None) -> Graph:
    """The inverse of `to_scipy`; duplicate entries are summed.

    Args:
        matrices: relation → matrix of shape (sources, targets).
        n_nodes: counts of node types that are in no relation.

    Raises:
        ValueError: if there is no ("user", "interacts", "item"), or shapes contradict each other.
    """
    relations = {key: Relation.of(*key, matrix) for key, matrix in matrices.items()}
    counts = {kind: n for r in relations.values() for kind, n in ((r.source, r.n_source), (r.target, r.n_target))}
    return Graph(counts | dict(n_nodes or {}), relations)


def to_pyg(graph: Graph, features: Features | None = None) -> "HeteroData":
    """PyG's container: ``num_nodes`` per type, ``edge_index`` (int64) and ``edge_weight`` per relation.

    Args:
        graph: the graph.
        features: if given, the nodes of their type also get ``x_<modality>`` and ``present_<modality>``.

    Raises:
        ValueError: if the features have another number of rows than the graph has nodes of their type.
    """
    from torch_geometric.data import HeteroData
    data = HeteroData()
    for kind, n in graph.n_nodes.items():
        data[kind].num_nodes = n
    for key, relation in graph.relations.items():
        data[key].edge_index, data[key].edge_weight = relation.edges, relation.weight
    if features is not None:
        kind = features.ids.what
        if graph.n_nodes.get(kind) != len(features):
            raise ValueError(f"there are features of {len(features)} {kind}s, the graph has {graph.n_nodes.get(kind)}; "
                             f"align the features to the graph's {kind}s.")
        for modality, x in features.x.items():
            data[kind][f"x_{modality}"], data[kind][f"present_{modality}"] = x, features.present[modality]
    return data


def from_pyg(data: "HeteroData") -> Graph:
    """The inverse of `to_pyg`; an edge type without ``edge_weight`` gets weight 1, duplicate edges are summed.

    Raises:
        ValueError: if a node type does not say its ``num_nodes``, or there is no ("user", "interacts", "item").
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unable to accurately infer 'num_nodes'")  # an error below
        n_nodes = {kind: data[kind].num_nodes for kind in data.node_types}
    if unknown := [kind for kind, n in n_nodes.items() if n is None]:
        raise ValueError(f"the number of {unknown} nodes is not known; set data[{unknown[0]!r}].num_nodes.")
    relations = {}
    for key in data.edge_types:
        store, (source, name, target) = data[key], key
        weight = store.edge_weight if "edge_weight" in store else None
        relation = Relation.from_edges(source, name, target, n_nodes[source], n_nodes[target], store.edge_index, weight)
        relations[key] = relation.to(store.edge_index.device)
    return Graph(n_nodes, relations)


def to_networkx(graph: Graph) -> "nx.MultiDiGraph[Any]":
    """A directed graph of nodes ``(type, number)``; relation name as edge key, ``weight`` on the edge."""
    import networkx as nx
    made: nx.MultiDiGraph[Any] = nx.MultiDiGraph(n_nodes=dict(graph.n_nodes), relations=tuple(graph.relations))
    for kind, n in graph.n_nodes.items():
        made.add_nodes_from((kind, number) for number in range(n))
    for (source, name, target), relation in graph.relations.items():
        sources, targets = relation.edges.tolist()
        made.add_edges_from(((source, s), (target, t), name, {"weight": w})
                            for s, t, w in zip(sources, targets, relation.weight.tolist(), strict=True))
    return made


def from_networkx(made: "nx.MultiDiGraph[Any]") -> Graph:
    """The inverse of `to_networkx`; an edge without ``weight`` gets weight 1.

    Raises:
        ValueError: if the numbers of a node type are not 0, 1, 2, …, or there is no ("user", "interacts", "item").
    """
    n_nodes = {**dict.fromkeys(made.graph.get("n_nodes", ()), 0), **_counts(made.nodes)}
    edges: dict[RelationKey, list[tuple[int, int, float]]] = {key: [] for key in made.graph.get("relations", ())}
    for (source, s), (target, t), name, weight in made.edges(keys=True, data="weight", default=1.0):
        edges.setdefault((source, name, target), []).append((s, t, weight))
    relations = {}
    for key, found in edges.items():
        ends = torch.tensor([(s, t) for s, t, _ in found], dtype=torch.int64).reshape(-1, 2).T
        weight = torch.tensor([w for *_, w in found], dtype=torch.float32)
        relations[key] = Relation.from_edges(*key, n_nodes[key[0]], n_nodes[key[2]], ends, weight)
    return Graph(n_nodes, relations)


def _counts(nodes: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Number of nodes of each type."""
    numbers: dict[str, list[int]] = {}
    for kind, number in nodes:
        numbers.setdefault(kind, []).append(number)
    for kind, found in numbers.items():
        if sorted(found) != list(range(len(found))):
            raise ValueError(f"the {kind} nodes must be numbered 0 … {len(found) - 1}, got {sorted(found)[:5]} …; "
                             f"relabel them first.")
    return {kind: len(found) for kind, found in numbers.items()}

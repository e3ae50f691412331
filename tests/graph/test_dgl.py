import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mmgraph.graph.dgl import from_dgl, import_dgl, to_dgl
from mmgraph.graph.graph import INTERACTS, Graph
from mmgraph.graph.relation import Relation

try:
    dgl = import_dgl()
except ImportError:
    dgl = None
needs_dgl = pytest.mark.skipif(dgl is None, reason='DGL is not installed; pip install "mmgraph[dgl]"')
SIMILAR = ("item", "similar", "item")


@pytest.fixture
def graph():
    rng = np.random.default_rng(0)
    taken, alike = (rng.normal(size=s) * (rng.random(s) < 0.5) for s in ((6, 9), (9, 9)))
    taken[-1], taken[:, -1] = 0, 0  # an isolated user, an isolated item
    relations = {INTERACTS: Relation.of(*INTERACTS, sp.csr_array(taken)),
                 SIMILAR: Relation.of(*SIMILAR, sp.csr_array(alike)),
                 ("item", "has_tag", "tag"): Relation.of("item", "has_tag", "tag", sp.csr_array((9, 3)))}
    return Graph({"user": 6, "item": 9, "tag": 3}, relations)


@needs_dgl
def test_round_trip_is_exact(graph):
    back = from_dgl(to_dgl(graph))
    assert dict(back.n_nodes) == dict(graph.n_nodes)
    assert back.relations.keys() == graph.relations.keys()
    for key, relation in graph.relations.items():
        for part in ("indptr", "indices", "weight"):
            assert getattr(back.relations[key], part).equal(getattr(relation, part)), (key, part)


@needs_dgl
def test_edges_point_the_same_way(graph):
    sources, targets = to_dgl(graph).edges(etype=INTERACTS)
    dense = graph.interactions.scipy().toarray()
    assert sorted(zip(sources.tolist(), targets.tolist(), strict=True)) == list(zip(*dense.nonzero(), strict=True))


@needs_dgl
@pytest.mark.parametrize("key", [INTERACTS, SIMILAR])
def test_message_passing_agrees_with_our_sparse_product(graph, key):
    made, relation = to_dgl(graph)[key], graph.relations[key]
    x = torch.randn(relation.n_source, 5, generator=torch.Generator().manual_seed(0))
    made.srcdata["x"] = x
    made.update_all(dgl.function.u_mul_e("x", "weight", "m"), dgl.function.sum("m", "weighted"))
    torch.testing.assert_close(made.dstdata["weighted"], relation.transposed @ x)
    made.update_all(dgl.function.copy_u("x", "m"), dgl.function.sum("m", "plain"))
    torch.testing.assert_close(made.dstdata["plain"],
                               relation.weighted(torch.ones_like(relation.weight)).transposed @ x)


@needs_dgl
def test_a_foreign_graph_without_weights_and_with_a_repeated_edge():
    made = dgl.heterograph({INTERACTS: (torch.tensor([1, 0, 1]), torch.tensor([0, 2, 0]))},
                           num_nodes_dict={"user": 2, "item": 4}, idtype=torch.int32)
    assert from_dgl(made).interactions.scipy().toarray().tolist() == [[0, 0, 1, 0], [2, 0, 0, 0]]


@needs_dgl
@pytest.mark.slow
def test_importing_leaves_no_file_in_the_home_folder(tmp_path):
    code = "import mmgraph.graph.dgl as d; print(d.import_dgl().__name__)"
    env = {k: v for k, v in os.environ.items() if k != "DGLBACKEND"} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "dgl"
    assert not (tmp_path / ".dgl").exists()


def test_without_dgl_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "dgl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ImportError, match=r'DGL cannot be imported \(No module.*pip install "mmgraph\[dgl\]"'):
        import_dgl()
    assert "dgl.graphbolt" not in sys.modules

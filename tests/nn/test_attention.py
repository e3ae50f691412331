import math

import pytest
import torch
import torch.nn.functional as F

from mmgraph.nn.attention import RelationAttention

DIM, HEADS = 4, 2
LIKES, SIMILAR = ("user", "likes", "item"), ("item", "similar", "item")
EDGES = {LIKES: torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]), SIMILAR: torch.tensor([[1, 2, 0], [0, 0, 2]])}


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(1)
    return {"user": torch.randn(3, DIM, generator=generator), "item": torch.randn(4, DIM, generator=generator)}


def layer(*keys):
    torch.manual_seed(0)
    return RelationAttention(keys, DIM, HEADS)


@torch.no_grad()
def by_loop(conv, sources, targets, edges):
    """GATv2: what each target hears, head after head; dynamic attention, slope 0.2."""
    out, size = torch.zeros(len(targets), DIM), DIM // HEADS
    for head in range(HEADS):
        rows = slice(head * size, (head + 1) * size)
        w_source, w_target, a = conv.lin_l.weight[rows], conv.lin_r.weight[rows], conv.att[0, head]
        for t in range(len(targets)):
            heard = [s for s, to in edges.T.tolist() if to == t]
            score = [math.exp(a @ F.leaky_relu(w_source @ sources[s] + w_target @ targets[t], 0.2)) for s in heard]
            for s, e in zip(heard, score, strict=True):
                out[t, rows] += e / sum(score) * (w_source @ sources[s])
    return out


def test_equals_a_loop_over_relations_heads_and_targets(x):
    attention = layer(LIKES, SIMILAR)
    out = attention(x, EDGES)
    likes, similar = (by_loop(conv, x[key[0]], x[key[2]], EDGES[key])
                      for key, conv in zip((LIKES, SIMILAR), attention.convs, strict=True))
    assert torch.allclose(out["item"], x["item"] + F.elu(likes) + F.elu(similar), atol=1e-6)
    assert not torch.allclose(likes[0], similar[0], atol=1e-2)


def test_who_hears_nobody_keeps_their_vector(x):
    out = layer(LIKES, SIMILAR)(x, EDGES)
    assert torch.equal(out["user"], x["user"])
    assert torch.equal(out["item"][3], x["item"][3])
    changed = (out["item"] - x["item"]).abs().amax(1) > 1e-3
    assert changed.tolist() == [True, True, True, False]


def test_messages_go_from_source_to_target(x):
    attention = layer(LIKES)
    moved = {"user": x["user"] + torch.tensor([[0.0], [0], [1]]), "item": x["item"]}
    differs = (attention(moved, EDGES)["item"] != attention(x, EDGES)["item"]).any(1)
    assert differs.tolist() == [True, False, False, False]  # only item 0 hears user 2


def test_a_single_neighbour_is_heard_whole(x):
    attention = layer(SIMILAR)
    heard = attention.convs[0].lin_l.weight @ x["item"][0]
    assert torch.allclose(attention(x, EDGES)["item"][2], x["item"][2] + F.elu(heard), atol=1e-6)


def test_a_relation_without_edges_brings_nothing(x):
    nobody = {SIMILAR: torch.zeros(2, 0, dtype=torch.int64)}
    assert torch.equal(layer(SIMILAR)(x, nobody)["item"], x["item"])


def test_does_not_change_what_it_was_given_and_reads_all_relations_at_once(x):
    before = {kind: v.clone() for kind, v in x.items()}
    one_way, other_way = layer(LIKES, SIMILAR), layer(LIKES, SIMILAR)
    other_way.keys, other_way.convs = (SIMILAR, LIKES), torch.nn.ModuleList(reversed(one_way.convs))
    assert torch.allclose(one_way(x, EDGES)["item"], other_way(x, EDGES)["item"], atol=1e-6)
    assert all(torch.equal(x[kind], before[kind]) for kind in x)


def test_every_parameter_gets_a_gradient(x):
    attention = layer(LIKES, SIMILAR)
    (attention(x, EDGES)["item"] * torch.randn(4, DIM, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name

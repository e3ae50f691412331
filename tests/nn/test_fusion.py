import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features
from mmgraph.nn.fusion import ConcatFusion, GatedFusion, SumFusion

DIMS = {"text": 3, "image": 2, "audio": 4}
FUSIONS = [ConcatFusion, SumFusion, GatedFusion]
PRESENT = [[True, True, True], [True, False, False], [False, True, True], [False, False, False], [True, False, True]]


def features(present, seed=0, dims=DIMS):
    """Random content; row = item, column = modality of ``present``."""
    mask, generator = torch.tensor(present), torch.Generator().manual_seed(seed)
    x = {m: torch.randn(len(mask), d, generator=generator) * mask[:, [c]] for c, (m, d) in enumerate(dims.items())}
    return Features(Vocabulary(range(len(mask))), x, {m: mask[:, c] for c, m in enumerate(dims)})


@pytest.fixture(params=FUSIONS, ids=lambda cls: cls.__name__)
def fusion(request):
    torch.manual_seed(0)
    made = request.param(DIMS, 6)
    if isinstance(made, SumFusion):
        made.logit.data = torch.tensor([0.3, -0.7, 1.1])
    return made


@torch.no_grad()
def by_loop(fusion, content):
    """The docstrings' formulas, one item after the other, over the modalities that it has."""
    rows = []
    for i in range(len(content)):
        has = [m for m in DIMS if content.present[m][i]]
        if isinstance(fusion, ConcatFusion):
            parts = dict(zip(DIMS, fusion.project.weight.split(list(DIMS.values()), dim=1), strict=True))
            z, a = {m: parts[m] @ content.x[m][i] for m in has}, dict.fromkeys(has, 1.0)
        else:
            z = {m: fusion.project[m].weight @ content.x[m][i] for m in has}
            if isinstance(fusion, SumFusion):
                w = {m: math.exp(fusion.logit[list(DIMS).index(m)]) for m in has}
            else:
                w = {m: math.exp(fusion.gate.weight[0] @ z[m].tanh()) for m in has}
            a = {m: w[m] / sum(w.values()) for m in has}
        rows.append(sum((a[m] * z[m] for m in has), start=torch.zeros(6)))
    return torch.stack(rows)


def test_equals_its_formula_over_what_is_present(fusion):
    content = features(PRESENT)
    assert torch.allclose(fusion(content), by_loop(fusion, content), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5), st.integers(0, 99))
def test_equals_its_formula_whatever_is_present(present, seed):
    content = features(present, seed)
    for cls in FUSIONS:
        torch.manual_seed(seed)
        made = cls(DIMS, 6)
        assert torch.allclose(made(content), by_loop(made, content), atol=1e-5)


@pytest.mark.parametrize("cls", [SumFusion, GatedFusion])
def test_what_an_item_lacks_does_not_weigh_in(cls):
    """An item with one modality gets that one whole, as if the fusion knew no other."""
    torch.manual_seed(0)
    made, content = cls(DIMS, 6), features([[True, False, False]])
    assert torch.allclose(made(content), made.project["text"](content.x["text"]), atol=1e-7)


@pytest.mark.parametrize("cls", [SumFusion, GatedFusion])
def test_stale_rows_of_absent_content_do_not_matter(cls):
    torch.manual_seed(0)
    made, content = cls(DIMS, 6), features(PRESENT)
    x = {m: torch.where(content.present[m][:, None], v, 1e3) for m, v in content.x.items()}
    stale = Features(content.ids, x, content.present, trusted=True)
    assert torch.equal(made(stale), made(content))


def test_an_item_does_not_depend_on_the_others(fusion):
    content = features(PRESENT)
    alone = torch.cat([fusion(content.rows(np.array([i]))) for i in range(len(PRESENT))])
    assert torch.allclose(alone, fusion(content), atol=1e-6)


def test_an_item_with_nothing_gets_zeros_and_all_gradients_are_finite(fusion):
    content = features(PRESENT)
    out = fusion(content)
    assert not out[3].any()
    assert out[[0, 1, 2, 4]].any(1).all()
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_nothing_at_all_has_zero_gradients(fusion):
    fusion(features([[False] * 3] * 2)).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in fusion.parameters())


def test_sum_by_hand():
    made = SumFusion({"text": 1, "image": 1}, 1)
    made.project["text"].weight.data, made.project["image"].weight.data = torch.tensor([[2.0]]), torch.tensor([[-1.0]])
    made.logit.data = torch.tensor([math.log(3), 0])
    x = {"text": torch.tensor([[5.0], [5], [0]]), "image": torch.tensor([[4.0], [0], [4]])}
    present = {"text": torch.tensor([True, True, False]), "image": torch.tensor([True, False, True])}
    fused = made(Features(Vocabulary(range(3)), x, present)).ravel()
    assert fused.tolist() == pytest.approx([0.75 * 10 - 0.25 * 4, 10, -4])


def test_modalities_are_read_by_name_in_the_order_of_the_fusion(fusion):
    content = features(PRESENT)
    turned = Features(content.ids, dict(reversed(content.x.items())), dict(reversed(content.present.items())))
    extra = turned | Features(content.ids, {"video": torch.ones(5, 2)}, {"video": torch.ones(5, dtype=torch.bool)})
    assert torch.equal(fusion(extra), fusion(content))

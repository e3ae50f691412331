"""Every model and every cold-start method is fitted under changed data, and nothing moves. Two epochs, one seed."""

from dataclasses import replace

import leaks
import numpy as np
import planted
import pyarrow as pa
import pytest

import mmgraph.cold  # noqa: F401  all methods
from mmgraph.cold import KernelRidge
from mmgraph.data import ColdBoth, ColdItemsByTime, Given, RevealedItems, Split
from mmgraph.models import EASE, FREEDOM, LightGCN, Trained
from mmgraph.models.base import all_models
from mmgraph.models.cold_start import ColdStart
from mmgraph.models.method import method_defaults
from mmgraph.study.claims import CLAIMS
from mmgraph.study.fit import fit
from mmgraph.study.leakage import check_leakage

MODELS = tuple(cls for cls in all_models() if cls.__module__.startswith("mmgraph."))
METHODS = tuple(cls for cls in ColdStart.__subclasses__() if cls.__module__.startswith("mmgraph."))
OF_ITEMS = set(CLAIMS) - {"users removed", "revealed", "validation features"}
pytestmark = pytest.mark.slow


def name_of(value):
    return getattr(value, "__name__", str(value))


def checked(warm, split, method=None):
    """Names of the checks that were done, all of which passed."""
    settings = leaks.STRICT if issubclass(warm, Trained) else {"progress_bar": False}
    new = {} if method is None or "epochs" not in method_defaults(method) else {"epochs": 2}

    def honest(split, features):
        return fit(warm, split, features, cold=method(**new) if method else None, **settings)

    report = check_leakage(honest, split, planted.features(missing=0.2), progress_bar=False)
    return {check.name for check in report.checks if check.passed}


@pytest.mark.parametrize("method", [None, KernelRidge], ids=name_of)
@pytest.mark.parametrize("warm", MODELS, ids=name_of)
def test_every_model_passes_alone_and_with_a_method(warm, method):
    assert checked(warm, planted.split(), method) | {"sampler"} == OF_ITEMS


@pytest.mark.parametrize("warm", [EASE, LightGCN], ids=name_of)
@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_every_method_passes(method, warm):
    if method.reads_vectors and warm is EASE:
        pytest.skip("reads vectors")
    done = checked(warm, planted.split(), method)
    assert done | {"sampler"} == OF_ITEMS
    assert "sampler" in done or warm is EASE


def numbers(data):
    """The user's and the item's number in the planted world, per interaction."""
    return (np.array([int(name) for name in of.names(at)]) - first
            for of, at, first in ((data.users, data.user, 100), (data.items, data.item, 200)))


def by_time():
    """An item came every 100 seconds, and was taken for 1,000 seconds."""
    data = planted.dataset()
    user, item = numbers(data)
    table = data.interactions.drop_columns("time").append_column("time", pa.array(100 * item + 25 * (7 * user % 40)))
    return Split.of(replace(data, interactions=table), ColdItemsByTime(0.2))


def natural():
    """The publisher's split: four items occur in validation or test alone, one of them in both."""
    data = planted.dataset()
    _, number = numbers(data)
    turn = np.random.default_rng(0).random(len(data))
    part = np.select([number == 36, number == 37, number == 38, number == 39, turn < 0.1, turn < 0.2],
                     ["valid", "test", np.where(turn < 0.5, "valid", "test"), "test", "valid", "test"], "train")
    table = data.interactions.append_column("part", pa.array(part))
    return Split.of(replace(data, interactions=table), Given(), seed=0)


PROTOCOLS = {
    "revealed items": (lambda: Split.of(planted.dataset(), RevealedItems(k=2), seed=0), OF_ITEMS | {"revealed"}),
    "cold both": (lambda: Split.of(planted.dataset(), ColdBoth(), seed=0), OF_ITEMS | {"users removed"}),
    "by time": (by_time, OF_ITEMS),
    "natural": (natural, OF_ITEMS - {"parts"})}


@pytest.mark.parametrize(("warm", "method"), [(EASE, KernelRidge), (LightGCN, KernelRidge), (FREEDOM, None)],
                         ids=name_of)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_with_cold_items_passes(protocol, warm, method):
    make, expected = PROTOCOLS[protocol]
    assert checked(warm, make(), method) | {"sampler"} == expected

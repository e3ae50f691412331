import pytest
import torch

from mmgraph.models.base import ClosedForm, Trained, all_models

OURS = tuple(cls for cls in all_models() if cls.__module__.startswith("mmgraph."))


@pytest.fixture(params=OURS, ids=lambda cls: cls.__name__)
def cls(request):
    """Every model class."""
    return request.param


@pytest.fixture(params=[cls for cls in OURS if issubclass(cls, Trained)], ids=lambda cls: cls.__name__)
def trained(request):
    """Every model class that is trained by gradient descent."""
    return request.param


@pytest.fixture
def build():
    """A small model of a class with its prepared graph; a closed form is solved."""
    def built(cls, graph, features, **hyperparameters):
        torch.manual_seed(0)
        width = {"dim": 8} if issubclass(cls, Trained) else {}
        model = cls(graph.schema(features), **(width | hyperparameters))
        prepared = model.prepare(graph, features)
        if isinstance(model, ClosedForm):
            model.adopt(model.solve(prepared, features))
        return model, prepared
    return built

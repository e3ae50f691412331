import pytest
import torch

from mmgraph.models.base import ClosedForm, Trained, all_models

OURS = tuple(cls for cls in all_models() if cls.__module__.startswith("mmgraph."))
SECOND = {"CGRC", "Firzen", "SiBraR", "MILK", "NGCF", "UltraGCN", "MultVAE", "MMGCN", "GRCN", "DualGNN", "MICRO",
          "SLMRec", "DRAGON", "MENTOR", "PGL", "DiffMM", "HGT", "TwoTower", "XSimGCL", "TurboCF", "ChebyCF",
          "FEASE", "LATTICE", "LGMRec", "MGCN", "MMGCF", "MMGF", "SLIM", "SMORE",
          "UserKNN", "GUME", "SimGCL", "AlphaRec"}  # the quick suite does without these


def marked(models):
    """The models, those of the second group marked as slow."""
    return [pytest.param(cls, id=cls.__name__, marks=pytest.mark.slow if cls.__name__ in SECOND else ())
            for cls in models]


@pytest.fixture(params=marked(OURS))
def cls(request):
    """Every model class."""
    return request.param


@pytest.fixture(params=marked(cls for cls in OURS if issubclass(cls, Trained)))
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

import pytest

import mmgraph.cold  # noqa: F401  all methods
from mmgraph.models import EASE, LightGCN
from mmgraph.models.cold_start import ColdStart

METHODS = tuple(cls for cls in ColdStart.__subclasses__() if cls.__module__.startswith("mmgraph."))
SECOND = {"ALDI", "CLCRec", "CodeNeighbours", "GAR", "Heater", "MetaEmbedding", "MWUF",
          "NeighbourScores", "PropagatedVectors", "SEMCo"}  # the quick suite does without these


@pytest.fixture(params=[pytest.param(cls, id=cls.__name__, marks=pytest.mark.slow if cls.__name__ in SECOND else ())
                        for cls in METHODS])
def method(request):
    """Every cold-start method, those of the second group marked as slow."""
    return request.param


@pytest.fixture(params=[EASE, LightGCN], ids=lambda cls: cls.__name__)
def warm(request, method):
    """A warm model with vectors, and one without, for methods that do not read them."""
    if method.reads_vectors and request.param is EASE:
        pytest.skip("reads vectors")
    return request.param

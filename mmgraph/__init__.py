"""mmgraph: multimodal graph recommendation, cold items included."""

from typing import TYPE_CHECKING, Any

from mmgraph import study
from mmgraph.data import (
    ColdItems,
    ColdUsers,
    Dataset,
    Fold,
    Given,
    GlobalTime,
    LeaveLastOut,
    RandomPerUser,
    Raw,
    Split,
    Vocabulary,
    cards,
    load,
)
from mmgraph.eval import Evaluation, evaluate
from mmgraph.features import Features, content_features, encode
from mmgraph.graph import Graph, Relation, Schema
from mmgraph.models import (
    BPRMF,
    EASE,
    FREEDOM,
    GAT,
    VBPR,
    ItemKNN,
    LightGCN,
    Model,
    Popularity,
    RecentPopularity,
    RP3beta,
)
from mmgraph.serve import Recommender
from mmgraph.study import Candidate, Study, diagnose, fit

if TYPE_CHECKING:
    from mmgraph.study import report, summarise

__version__ = "0.1.0"

__all__ = ["BPRMF", "EASE", "FREEDOM", "GAT", "VBPR", "Candidate", "ColdItems", "ColdUsers", "Dataset", "Evaluation",
           "Features", "Fold", "Given", "GlobalTime", "Graph", "ItemKNN", "LeaveLastOut", "LightGCN", "Model",
           "Popularity", "RP3beta", "RandomPerUser", "Raw", "RecentPopularity", "Recommender", "Relation", "Schema",
           "Split", "Study", "Vocabulary", "cards", "content_features", "diagnose", "encode", "evaluate", "fit", "load",
           "report", "summarise"]


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for; see `mmgraph.study`."""
    if name in ("report", "summarise"):
        return getattr(study, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""mmgraph: multimodal graph recommendation, cold items included."""

from mmgraph.data import (
    ColdItems,
    ColdUsers,
    Dataset,
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
from mmgraph.models import BPRMF, EASE, FREEDOM, GAT, VBPR, ItemKNN, LightGCN, Model, Popularity
from mmgraph.serve import Recommender
from mmgraph.study import fit

__version__ = "0.1.0"

__all__ = ["BPRMF", "EASE", "FREEDOM", "GAT", "VBPR", "ColdItems", "ColdUsers", "Dataset", "Evaluation", "Features",
           "Given", "GlobalTime", "Graph", "ItemKNN", "LeaveLastOut", "LightGCN", "Model", "Popularity",
           "RandomPerUser", "Raw", "Recommender", "Relation", "Schema", "Split", "Vocabulary", "cards",
           "content_features", "encode", "evaluate", "fit", "load"]

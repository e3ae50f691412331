"""One file per paper; `base` has the contract that all of them keep."""

from mmgraph.models.base import (
           ClosedForm,
           DotScorer,
           Embeddings,
           HistoryScorer,
           Model,
           Scorer,
           TableScorer,
           Trained,
           Triples,
)
from mmgraph.models.bprmf import BPRMF
from mmgraph.models.ease import EASE
from mmgraph.models.freedom import FREEDOM
from mmgraph.models.gat import GAT
from mmgraph.models.itemknn import ItemKNN
from mmgraph.models.lightgcn import LightGCN
from mmgraph.models.popularity import Popularity
from mmgraph.models.recent_popularity import RecentPopularity
from mmgraph.models.rp3beta import RP3beta
from mmgraph.models.vbpr import VBPR

__all__ = ["BPRMF", "EASE", "FREEDOM", "GAT", "VBPR", "ClosedForm", "DotScorer", "Embeddings", "HistoryScorer",
           "ItemKNN", "LightGCN", "Model", "Popularity", "RP3beta", "RecentPopularity", "Scorer", "TableScorer",
           "Trained", "Triples"]

"""Scores in, one number per user out."""

from mmgraph.eval.evaluate import Evaluation, candidate_sets, evaluate
from mmgraph.eval.metrics import METRICS
from mmgraph.eval.rank import rank

__all__ = ["METRICS", "Evaluation", "candidate_sets", "evaluate", "rank"]

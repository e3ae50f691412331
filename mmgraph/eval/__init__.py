"""Scores in, one number per user out; what the numbers mean, and whether a difference is one."""

from mmgraph.eval import interleaving, off_policy
from mmgraph.eval.auc import auc
from mmgraph.eval.beyond import Beyond, beyond
from mmgraph.eval.bootstrap import Interval, bootstrap_interval, paired_bootstrap
from mmgraph.eval.click_models import Cascade, ClickModel, PositionBased
from mmgraph.eval.corrections import CriticalDifference, benjamini_hochberg, critical_difference, friedman, holm
from mmgraph.eval.evaluate import Evaluation, candidate_sets, evaluate, held_out, known_items
from mmgraph.eval.exposure import (
    coverage,
    exposure,
    exposure_entropy,
    gini,
    normalised_exposure_entropy,
    personalisation,
)
from mmgraph.eval.groups import (
    Groups,
    activity_groups,
    attribute_groups,
    exposure_ratio,
    group_means,
    group_recall,
    popularity_groups,
    presence_groups,
)
from mmgraph.eval.listwise import (
    average_popularity,
    calibration,
    diversity,
    novelty,
    popularity_lift,
    serendipity,
)
from mmgraph.eval.metrics import METRICS, NAMES
from mmgraph.eval.policies import epsilon_greedy, simulate_log, softmax_policy
from mmgraph.eval.policy_value import PolicyValue
from mmgraph.eval.power import detectable_difference, sample_size_means, sample_size_proportions
from mmgraph.eval.preference import Preference
from mmgraph.eval.rank import rank
from mmgraph.eval.sampled import evaluate_sampled
from mmgraph.eval.shapley import Shapley, modality_shapley, shapley
from mmgraph.eval.statistics import Outcome, cohens_d, paired_t, permutation, rank_biserial, wilcoxon

__all__ = ["METRICS", "NAMES", "Beyond", "Cascade", "ClickModel", "CriticalDifference", "Evaluation", "Groups",
           "Interval", "Outcome", "PolicyValue", "PositionBased", "Preference", "Shapley", "activity_groups",
           "attribute_groups", "auc", "average_popularity", "benjamini_hochberg", "beyond", "bootstrap_interval",
           "calibration", "candidate_sets", "cohens_d", "coverage", "critical_difference", "detectable_difference",
           "diversity", "epsilon_greedy", "evaluate", "evaluate_sampled", "exposure", "exposure_entropy",
           "exposure_ratio", "friedman", "gini", "group_means", "group_recall", "held_out", "holm", "interleaving",
           "known_items", "modality_shapley", "normalised_exposure_entropy", "novelty", "off_policy",
           "paired_bootstrap", "paired_t", "permutation", "personalisation", "popularity_groups", "popularity_lift",
           "presence_groups", "rank", "rank_biserial", "sample_size_means", "sample_size_proportions", "serendipity",
           "shapley", "simulate_log", "softmax_policy", "wilcoxon"]

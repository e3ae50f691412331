"""How much of what interactions would tell of new items is told by their content: the oracle ratio."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmgraph.data.cold_protocols import RevealedItems
from mmgraph.data.dataset import Dataset
from mmgraph.data.split import Split
from mmgraph.eval.evaluate import Evaluation, Part, check_choices, evaluate
from mmgraph.features.features import Features
from mmgraph.models.base import Model
from mmgraph.models.cold_start import ColdStart
from mmgraph.models.fitted import Fitted
from mmgraph.study.fit import fit

ALL = 2**31 - 1  # interactions revealed of an item: those of its half


@dataclass(frozen=True)
class OracleRatio:
    """The same cold items, ranked for the same users by the same half of their interactions.

    Args:
        content: of the model that knows new items by their content.
        oracle: of the model that was trained on the other half of their interactions.
    """

    content: Evaluation
    oracle: Evaluation

    def ratio(self, metric: str = "ndcg@20") -> float:
        """Content over oracle, 1 if both are as good; of means over users.

        Raises:
            ValueError: if the oracle found nothing.
        """
        found = self.oracle["cold", metric]
        if not found > 0:
            raise ValueError(f"the oracle's {metric} is {found:g}, nothing to compare with; give it more epochs or "
                             f"dimensions.")
        return self.content["cold", metric] / found


def oracle_ratio(cls: type[Model], data: Dataset, features: Callable[[Split], Features], *,
                 cold: ColdStart | str | None = None, oracle: type[Model] | None = None, share: float = 0.2,
                 seed: int = 0, part: Part = "valid", ks: tuple[int, ...] = (20,),
                 **options: Any) -> OracleRatio:
    """What content alone reaches, beside a model that saw half of the same items' interactions.

    Recall among cold items does not compare with recall among warm ones, for the candidates differ; this does: same
    candidates, same users, same held-out half (`RevealedItems`), another half revealed to the oracle.

    Args:
        cls: class of the model that scores new items by itself or by ``cold``.
        data: interactions.
        features: from a split to the content of its items, with statistics of its warm items alone; the oracle, if it
            reads content, gets the same.
        cold: method for new items, see `fit`; none for a model that has its own.
        oracle: class of the model that sees the half; ``cls`` by default.
        share: of the items that are cold, half of them for validation and half for test.
        seed: of the draw, of parameters and training.
        part: cold items to judge by; ``test`` unlocks it.
        ks: list lengths.
        options: of `fit`, for both; epochs are chosen on warm items unless they say otherwise.

    Raises:
        ValueError: for a share outside [0, 1), or a part that is neither.
    """
    check_choices(part=part)
    split = data.split(RevealedItems(share, k=0), seed=seed)
    content = features(split)
    options = {"monitor_on": ("warm",), **options}
    alone = fit(cls, split, content, seed=seed, cold=cold, **options)
    seen, whole = with_half_seen(oracle or cls, data, content, share=share, seed=seed, **options)
    if part == "test":
        split, whole = split.unlock_test(), whole.unlock_test()
    return OracleRatio(*(evaluate(fitted, of, part=part, ks=ks, only=["cold"])
                         for fitted, of in ((alone, split), (seen, whole))))


def with_half_seen(cls: type[Model], data: Dataset, content: Features | None, *, share: float, seed: int,
                   **options: Any) -> tuple[Fitted, Split]:
    """A model trained on one half of the cold items' interactions too, and the split that judges it by the other.

    Args:
        cls: its class.
        data: interactions.
        content: of the items, joined by id.
        share: of the items that are cold.
        seed: of the draw, of parameters and training.
        options: of `fit`.
    """
    split = data.split(RevealedItems(share, k=ALL), seed=seed).with_history_trained()
    return fit(cls, split, content, seed=seed, **options), split

"""What a fit left behind, and whether two fits left the same."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.data.split import Split
from mmgraph.data.types import Ints
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.models.fitted import Fitted

USERS = 1000  # whose scores are compared
CLOSE = 1e-5  # relative, of what need not be bit-identical
Scores = Literal["warm", "cold", "new"]
NO_LOSS = {"epoch", "seconds", "valid"}


class Block(NamedTuple):
    """Scores of some users for some items, by id."""

    scores: Float[Tensor, "users items"]
    users: Vocabulary
    items: Vocabulary


@dataclass(frozen=True)
class Trace:
    """All that may not have moved.

    Args:
        state: name → tensor.
        losses: per epoch the terms of the training loss; empty for a closed form.
        valid: per epoch the validation score, NaN where there was none.
        warm: scores of some warm users for the warm items.
        cold: scores of these and some cold users for the cold items that are there.
        new: scores of the cold users for the warm items.
    """

    state: Mapping[str, Tensor]
    losses: Sequence[Mapping[str, float]]
    valid: Sequence[float]
    warm: Float[Tensor, "users warm"]
    cold: Block
    new: Block

    @classmethod
    def of(cls, fitted: Fitted, split: Split) -> "Trace":
        """What a fit left; the split says which users and items are warm, by id."""
        warm = fitted.items.numbers(split.data.items.ids[:split.n_warm_items])
        cold = np.setdiff1d(np.arange(len(fitted.items)), warm)
        old, new = (fitted.users.find(split.data.users.names(users)) for users in (
            _spaced(0, split.n_warm_users), _spaced(split.n_warm_users, len(split.data.users))))
        new = new[new >= 0]
        of_old = fitted.scores(torch.from_numpy(old)).cpu()
        of_new = fitted.scores(torch.from_numpy(new)).cpu() if len(new) else of_old[:0]
        losses = [{name: value for name, value in row.items() if name not in NO_LOSS} for row in fitted.history]
        of_cold = torch.cat([of_old, of_new])[:, torch.from_numpy(cold)]
        return cls({name: tensor.detach().clone() for name, tensor in fitted.model.state_dict().items()}, losses,
                   [row.get("valid", np.nan) for row in fitted.history], of_old[:, torch.from_numpy(warm)],
                   Block(of_cold, fitted.users.take(np.concatenate([old, new])), fitted.items.take(cold)),
                   Block(of_new[:, torch.from_numpy(warm)], fitted.users.take(new), fitted.items.take(warm)))

    @property
    def epoch(self) -> int:
        """The selected epoch, from 1: the first with the best validation score, else the last; 0 for a closed form."""
        return int(np.nanargmax(self.valid)) + 1 if not np.isnan(self.valid).all() else len(self.valid)


def moved(one: Trace, two: Trace, *, may_select: bool = False, may_score: Collection[Scores] = ()) -> list[str]:
    """What differs between two fits that should have left the same; see `mmgraph.study.leakage.check_leakage`.

    Args:
        one: of a fit.
        two: of another.
        may_select: whether validation scores and the selected epoch may differ.
        may_score: which scores of the model may differ though nothing else does: of warm users for warm items
            (``warm``), of cold users for warm items (``new``), of all for cold items (``cold``).
    """
    losses = _moved_losses(one, two)
    valid = [] if may_select else _moved_valid(one, two)
    if one.epoch != two.epoch and not losses:
        return valid  # none if another epoch was allowed, or tied but for rounding; the state is that of another epoch
    same = "warm" in may_score or torch.equal(one.warm, two.warm)
    return [*losses, *valid, *_moved_state(one.state, two.state),
            *([] if same else [f"warm scores by up to {_gap(one.warm, two.warm)}"]),
            *([] if "cold" in may_score else moved_scores(one.cold, two.cold, "cold scores")),
            *([] if "new" in may_score else moved_scores(one.new, two.new, "cold users' scores"))]


def moved_scores(one: Block, two: Block, what: str) -> list[str]:
    """How far the scores of the users and items that both blocks have lie apart, in parts of the largest."""
    users, items = two.users.find(one.users.ids), two.items.find(one.items.ids)
    first = one.scores[torch.from_numpy(users >= 0)][:, torch.from_numpy(items >= 0)]
    second = two.scores[torch.from_numpy(users[users >= 0])][:, torch.from_numpy(items[items >= 0])]
    finite = first[first.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    close = torch.isclose(first, second, rtol=CLOSE, atol=CLOSE * largest, equal_nan=True)
    return [] if close.all() else [f"{what} by up to {_gap(first, second)} of {largest:.3g}"]


def _spaced(start: int, end: int) -> Ints:
    """Numbers from start to end, `USERS` at most, equally spaced."""
    return np.unique(np.linspace(start, end - 1, min(USERS, end - start)).astype(int))


def _moved_losses(one: Trace, two: Trace) -> list[str]:
    for epoch, (first, second) in enumerate(zip(one.losses, two.losses, strict=False), start=1):
        if first != second:
            return [f"training losses from epoch {epoch} on"]
    return []


def _moved_valid(one: Trace, two: Trace) -> list[str]:
    if len(one.valid) != len(two.valid) and np.isnan(one.valid).all():
        return [f"{len(two.valid)} epochs, not {len(one.valid)}"]
    n = min(len(one.valid), len(two.valid))
    first, second = np.array(one.valid[:n]), np.array(two.valid[:n])
    if np.allclose(first, second, rtol=CLOSE, atol=1e-12, equal_nan=True):
        return []
    return [f"validation scores by up to {np.nanmax(np.abs(first - second)):.1g}"]


def _moved_state(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> list[str]:
    apart = [f"{name} ({_about(one.get(name), two.get(name))})" for name in sorted({*one, *two})
             if not _same(one.get(name), two.get(name))]
    return [*apart[:3], *([f"{len(apart) - 3} more tensors"] if len(apart) > 3 else [])]


def _same(one: Tensor | None, two: Tensor | None) -> bool:
    return one is not None and two is not None and one.dtype == two.dtype and torch.equal(*map(_dense, (one, two)))


def _about(one: Tensor | None, two: Tensor | None) -> str:
    if one is None or two is None:
        return "not in both"
    return f"by up to {_gap(one, two)}" if one.shape == two.shape else f"{tuple(one.shape)} and {tuple(two.shape)}"


def _dense(tensor: Tensor) -> Tensor:
    """For `torch.equal`, which does not compare sparse tensors."""
    if tensor.layout == torch.sparse_csr:
        return torch.cat([part.double() for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values())])
    return tensor


def _gap(one: Any, two: Any) -> str:
    first, second = _dense(one).double(), _dense(two).double()
    return f"{float((first - second).abs().max()):.2g}" if first.shape == second.shape else "another size"

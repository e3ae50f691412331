"""How a user clicks in a list whose relevant items are known: for simulations, never for claims about real users."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Generator, Tensor


@runtime_checkable
class ClickModel(Protocol):
    """Draws the clicks of one session per list."""

    def clicks(self, relevant: Bool[Tensor, "*users k"], generator: Generator) -> Bool[Tensor, "*users k"]:
        """Which places are clicked (column 0 = best rank), given which hold a relevant item."""
        ...


@dataclass(frozen=True)
class PositionBased:
    r"""Rank r is looked at with probability :math:`r^{-\eta}`, whatever else happens in the list.

    Source: Richardson et al. 2007, doi:10.1145/1242572.1242643; this examination curve: Joachims et al. 2017,
    arXiv:1608.04468.

    Args:
        eta: how fast attention falls, at least 0 (everything is looked at).
        click: probability of a click on a relevant item that is looked at.
        noise: probability of a click on any other item that is looked at.
    """

    eta: float = 1.0
    click: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta < float("inf"):
            raise ValueError(f"eta is how fast attention falls and must be at least 0 and finite, got {self.eta}.")
        _check_probabilities(click=self.click, noise=self.noise)

    def clicks(self, relevant: Bool[Tensor, "*users k"], generator: Generator) -> Bool[Tensor, "*users k"]:
        """See `ClickModel`."""
        ranks = torch.arange(1, relevant.shape[-1] + 1, device=relevant.device, dtype=torch.float64)
        return _drawn(_attraction(relevant, self.click, self.noise) * ranks ** -self.eta, generator)


@dataclass(frozen=True)
class Cascade:
    """The list is read from the top, and a click may end the reading.

    With ``stop=1`` at most one item is clicked: Craswell et al. 2008, doi:10.1145/1341531.1341545. A smaller value
    allows several clicks, as in the dependent click model: Guo et al. 2009, doi:10.1145/1498759.1498818.

    Args:
        click: probability of a click on a relevant item that is read.
        noise: probability of a click on any other item that is read.
        stop: probability that a click is the last one.
    """

    click: float = 1.0
    noise: float = 0.0
    stop: float = 1.0

    def __post_init__(self) -> None:
        _check_probabilities(click=self.click, noise=self.noise, stop=self.stop)

    def clicks(self, relevant: Bool[Tensor, "*users k"], generator: Generator) -> Bool[Tensor, "*users k"]:
        """See `ClickModel`."""
        would = _drawn(_attraction(relevant, self.click, self.noise), generator)
        ends = would & _drawn(torch.full(relevant.shape, self.stop, dtype=torch.float64), generator).to(would.device)
        return would & (ends.cumsum(-1) - ends.long() == 0)  # no click further up was the last one


def _attraction(relevant: Tensor, click: float, noise: float) -> Tensor:
    return torch.where(relevant, click, noise).double()


def _drawn(probability: Tensor, generator: Generator) -> Tensor:
    """True with these probabilities; drawn where the generator lives."""
    draw = torch.rand(probability.shape, generator=generator, device=generator.device, dtype=torch.float64)
    return draw.to(probability.device) < probability


def _check_probabilities(**given: float) -> None:
    for name, value in given.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is a probability and must lie in [0, 1], got {value}.")

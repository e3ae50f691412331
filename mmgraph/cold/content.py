"""Content as one matrix, for methods that compare items by it."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.features import Features

Weights = Mapping[str, float]  # modality → its weight in a sum of similarities; alike where it is empty


def unit_content(features: Features, weights: Weights) -> Float[Tensor, "items dim"]:
    r"""All modalities side by side, float64, so that the dot product of two rows is :math:`\sum_m w_m \cos_m`.

    Each row of each modality is scaled to length :math:`\sqrt{w_m}`; what is absent stays zero.
    """
    shares, start = shares_of(features.x, weights), 0
    device = next(iter(features.x.values())).device if shares else None
    width = sum(features.x[m].shape[1] for m in shares)
    whole = torch.empty(len(features), width, dtype=torch.float64, device=device)
    for m, share in shares.items():
        part = whole[:, start:start + features.x[m].shape[1]].copy_(features.x[m])
        part *= share**0.5 / part.norm(dim=1, keepdim=True).clamp(min=1e-12)
        start += part.shape[1]
    return whole


def shares_of(modalities: Iterable[str], weights: Weights) -> dict[str, float]:
    """Modality → share, in order of the names, summing to 1; alike where no weights are given.

    Raises:
        ValueError: for an unknown modality, a negative weight, or weights that are all zero.
    """
    names = sorted(modalities)
    given = dict(weights) or {name: 1.0 for name in names}
    if set(given) - set(names) or min(given.values(), default=0) < 0 or (names and sum(given.values()) <= 0):
        raise ValueError(f"weights must be non-negative, not all zero, and name modalities of {names}; got "
                         f"{dict(weights)}.")
    total = sum(given.values())
    return {name: given[name] / total for name in names if given.get(name, 0) > 0}

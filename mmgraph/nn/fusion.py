"""Fusion: matrices and masks in, one matrix out. What is missing is ignored; an item with nothing gets zeros."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmgraph.features.features import Features


class ConcatFusion(nn.Module):
    r"""Concatenate the modalities (absent ones as zeros) and project, :math:`z_i = W [x_{i1}; x_{i2}; …]`."""

    def __init__(self, dims: Mapping[str, int], dim: int):
        super().__init__()
        self.names = tuple(dims)
        self.project = nn.Linear(sum(dims.values()), dim, bias=False)

    def forward(self, features: Features) -> Float[Tensor, "items dim"]:
        return self.project(torch.cat([features.x[m] for m in self.names], dim=1))


class SumFusion(nn.Module):
    r"""Learned weighted sum: one weight per modality, renormalised over the modalities that an item has.

    .. math:: z_i = \sum_{m \in M_i} a_{im} W_m x_{im}, \qquad a_i = \mathrm{softmax}_{M_i}(w)
    """

    def __init__(self, dims: Mapping[str, int], dim: int):
        super().__init__()
        self.project = _projections(dims, dim)
        self.logit = nn.Parameter(torch.zeros(len(dims)))

    def forward(self, features: Features) -> Float[Tensor, "items dim"]:
        z, present = _projected(self.project, features)
        return _weighted_sum(z, self.logit.expand(len(z), -1), present)


class GatedFusion(nn.Module):
    r"""Weigh the modalities that an item has by what they say; ignore those it lacks.

    .. math:: z_i = \sum_{m \in M_i} a_{im} W_m x_{im}, \qquad a_i = \mathrm{softmax}_{M_i}(g^\top \tanh W_m x_{im})

    :math:`M_i`: modalities present for item *i*; :math:`z_i = 0` where there is none.
    """

    def __init__(self, dims: Mapping[str, int], dim: int):
        super().__init__()
        self.project = _projections(dims, dim)
        self.gate = nn.Linear(dim, 1, bias=False)

    def forward(self, features: Features) -> Float[Tensor, "items dim"]:
        z, present = _projected(self.project, features)
        return _weighted_sum(z, self.gate(z.tanh()).squeeze(-1), present)


def _projections(dims: Mapping[str, int], dim: int) -> nn.ModuleDict:
    return nn.ModuleDict({m: nn.Linear(size, dim, bias=False) for m, size in dims.items()})


def _projected(project: nn.ModuleDict, features: Features) -> tuple[Float[Tensor, "items modalities dim"],
                                                                    Bool[Tensor, "items modalities"]]:
    z = torch.stack([linear(features.x[m]) for m, linear in project.items()], dim=1)
    return z, torch.stack([features.present[m] for m in project], dim=1)


def _weighted_sum(z: Float[Tensor, "items modalities dim"], logits: Float[Tensor, "items modalities"],
                  present: Bool[Tensor, "items modalities"]) -> Float[Tensor, "items dim"]:
    logits = logits.masked_fill(~present, torch.finfo(z.dtype).min)
    return torch.einsum("imd,im->id", z, logits.softmax(dim=1) * present)  # finite even where all are absent

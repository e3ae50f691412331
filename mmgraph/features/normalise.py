"""Normalisation of features. What has statistics is fitted on named (training) rows and applied to all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmgraph.data.types import Bools
from mmgraph.features.features import Features

FAINT = 2.0**-14  # smallest normal float16: survives storage in any dtype
BLOCK = 8192  # rows per step, so that float64 copies stay small


@dataclass(frozen=True)
class Affine:
    r"""Fitted statistics, one map per modality: :math:`x \mapsto (x - \mu) \odot s` or :math:`(x - \mu) W`.

    Serves items that did not exist when it was fitted.

    Args:
        name: what it does, noted in the meta of the features it makes.
        mean: modality → :math:`\mu`, shape (dim,).
        weight: modality → :math:`s` of shape (dim,) or :math:`W` of shape (dim, new dim).
    """

    name: str
    mean: Mapping[str, Float[Tensor, " _"]]
    weight: Mapping[str, Float[Tensor, "..."]]

    def apply(self, features: Features) -> Features:
        """The features through the map; absent rows stay zero.

        A present row that lands exactly on zero (it equals the mean) stays present, for it is average content, not
        missing content. Since zero means missing, its entries become `FAINT`, 2⁻¹⁴: nothing beside a standard
        deviation of 1, and the same vector for every such row, so that they stay each other's nearest neighbours.

        Raises:
            KeyError: for a modality that was not fitted.
            ValueError: for a modality of another width.
        """
        unknown = set(features.x) - set(self.mean)
        if unknown:
            raise KeyError(f"{self.name} was not fitted on {sorted(unknown)}, only on {sorted(self.mean)}; "
                           f"choose with features.only(...).")
        return mapped(features, self.name, self._map)

    def _map(self, modality: str, x: Tensor) -> Tensor:
        mean, weight = self.mean[modality].to(x), self.weight[modality].to(x)
        if x.shape[1] != len(mean):
            raise ValueError(f"{self.name} was fitted on {len(mean)}-d {modality} features, got {x.shape[1]}-d; "
                             f"use the same encoder for both.")
        return (x - mean) * weight if weight.ndim == 1 else (x - mean) @ weight

    def state(self) -> dict[str, Tensor]:
        """All its tensors by name, for safetensors."""
        return {f"{part}/{m}": t for part, of in (("mean", self.mean), ("weight", self.weight)) for m, t in of.items()}

    @classmethod
    def from_state(cls, name: str, state: Mapping[str, Tensor]) -> "Affine":
        """The inverse of `state`."""
        def part(of: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{of}/"): t for key, t in state.items() if key.startswith(f"{of}/")}
        return cls(name, part("mean"), part("weight"))


def fit_standardise(features: Features, fit_on: Iterable[object] | Bools | Tensor) -> Affine:
    r"""Learn :math:`(x - \mu) / \sigma` per column, population standard deviation; a constant column is only centred.

    Args:
        features: of any nodes.
        fit_on: ids, or a bool mask over the rows: the training nodes. Rows of others are never read.

    Raises:
        KeyError: for an unknown id.
        ValueError: if no row to fit on has a modality.
    """
    mean, weight = {}, {}
    for name, x, rows in fit_rows(features, fit_on):
        mu, squares = moments(x, rows, lambda centred: centred.square().sum(0))
        std = (squares / len(rows)).sqrt()
        std[std == 0] = 1  # float64 adds equal float32 values without rounding: a constant column gives exactly 0
        mean[name], weight[name] = mu.float(), std.reciprocal().float()
    return Affine("standardise", mean, weight)


def fit_pca(features: Features, fit_on: Iterable[object] | Bools | Tensor, dim: int | None = None, *,
            whiten: bool = False) -> Affine:
    r"""Learn a projection on the ``dim`` directions of largest variance, :math:`(x - \mu) V_d`.

    Costs rows · width² and memory width². The sign of a direction is chosen so that its largest entry is positive.

    Args:
        features: of any nodes.
        fit_on: ids, or a bool mask over the rows: the training nodes. Rows of others are never read.
        dim: width of the result; by default all directions in which the rows vary.
        whiten: scale every direction to variance 1 (sample variance, n - 1).

    Raises:
        KeyError: for an unknown id.
        ValueError: if no row to fit on has a modality, or ``dim`` exceeds the directions in which the rows vary.
    """
    mean, weight = {}, {}
    for name, x, rows in fit_rows(features, fit_on):
        mu, scatter = moments(x, rows, lambda centred: centred.T @ centred)
        variance, directions = _principal(scatter / max(len(rows) - 1, 1), name, dim)
        mean[name] = mu.float()
        weight[name] = (directions / variance.sqrt() if whiten else directions).float().contiguous()
    return Affine(f"{'whiten' if whiten else 'pca'}({'' if dim is None else dim})", mean, weight)


def standardise(features: Features, fit_on: Iterable[object] | Bools | Tensor) -> Features:
    """Every column to mean 0 and variance 1 on the training rows; see `fit_standardise`."""
    return fit_standardise(features, fit_on).apply(features)


def pca(features: Features, fit_on: Iterable[object] | Bools | Tensor, dim: int | None = None) -> Features:
    """The ``dim`` directions of largest variance on the training rows; see `fit_pca`."""
    return fit_pca(features, fit_on, dim).apply(features)


def whiten(features: Features, fit_on: Iterable[object] | Bools | Tensor, dim: int | None = None) -> Features:
    """As `pca`, each direction scaled to variance 1 on the training rows."""
    return fit_pca(features, fit_on, dim, whiten=True).apply(features)


def l2(features: Features) -> Features:
    """Every present row to length 1. Has no statistics."""
    def unit(_: str, x: Tensor) -> Tensor:
        largest = torch.maximum(x.amax(1), -x.amin(1))[:, None]
        x = x / largest  # largest entry 1: squares neither overflow nor vanish; absent rows are NaN until masked
        return x / x.norm(dim=1, keepdim=True)
    return mapped(features, "l2", unit)


def mapped(features: Features, name: str, function: Callable[[str, Tensor], Tensor]) -> Features:
    """Each matrix through ``function(modality, x)``; absent rows zero, present rows not; meta says what was done."""
    x, meta = {}, {}
    for modality, old in features.x.items():
        present = features.present[modality]
        new = function(modality, old).masked_fill_(~present[:, None], 0)
        new[present & ~new.any(1)] = FAINT
        x[modality] = new
        about = features.meta.get(modality, {})
        meta[modality] = {**about, "normalised": [*about.get("normalised", []), name]}
    return replace(features, x=x, meta=meta)


def fit_rows(features: Features, fit_on: Iterable[object] | Bools | Tensor) -> Iterable[tuple[str, Tensor, Tensor]]:
    """Modality, matrix and the numbers (ascending) of the rows to fit on that have the modality."""
    chosen = torch.from_numpy(_mask(features, fit_on))
    for name, x in features.x.items():
        rows = (chosen.to(x.device) & features.present[name]).nonzero()[:, 0]
        if not len(rows):
            raise ValueError(f"none of the {int(chosen.sum())} {features.ids.what}s to fit on has {name}; "
                             f"leave {name} out with features.only(...) or fit on others.")
        yield name, x, rows


def _mask(features: Features, fit_on: Iterable[object] | Bools | Tensor) -> Bool[np.ndarray, " nodes"]:
    if isinstance(fit_on, Tensor):
        fit_on = fit_on.cpu().numpy()
    if not (isinstance(fit_on, np.ndarray) and fit_on.dtype == bool):
        mask = np.zeros(len(features), dtype=bool)
        mask[features.ids.numbers(fit_on)] = True
        return mask
    if fit_on.shape != (len(features),):
        raise ValueError(f"the mask of rows to fit on has shape {fit_on.shape}, the features {len(features)} rows.")
    return fit_on


def moments(x: Tensor, rows: Tensor, second: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean of these rows, and the sum of ``second(centred block)``, in float64."""
    blocks = rows.split(BLOCK)
    mean = sum((x[b].double().sum(0) for b in blocks), torch.zeros(())) / len(rows)
    return mean, sum((second(x[b].double() - mean) for b in blocks), torch.zeros(()))


def _principal(covariance: Tensor, name: str, dim: int | None) -> tuple[Tensor, Tensor]:
    """The largest ``dim`` eigenvalues, descending, and their eigenvectors as columns."""
    variance, directions = torch.linalg.eigh(covariance)
    variance, directions = variance.flip(0), directions.flip(1)
    rank = int((variance > variance[0] * len(variance) * 1e-12).sum())
    kept = rank if dim is None else dim
    if not 1 <= kept <= rank:
        raise ValueError(f"the {name} rows to fit on vary in {rank} directions of {len(variance)}, asked for {kept}; "
                         f"choose a dim in [1, {rank}] or fit on more rows.")
    variance, directions = variance[:kept], directions[:, :kept]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return variance, directions * largest.sign()

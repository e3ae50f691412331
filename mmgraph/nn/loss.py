"""Losses over scores or vectors of one batch; each is a mean over the batch, and lower is better."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def bpr_loss(users: Float[Tensor, "batch dim"], positives: Float[Tensor, "batch dim"],
             negatives: Float[Tensor, "batch dim"], counts: Bool[Tensor, " batch"] | None = None) -> Float[Tensor, ""]:
    r"""Bayesian personalised ranking, :math:`-\ln \sigma(e_u^\top e_i - e_u^\top e_j)`.

    Args:
        users: one vector per triple.
        positives: the item that the user has taken.
        negatives: an item that the user has not taken.
        counts: which triples enter the mean (all by default); zero if none does.

    Source: Rendle et al., UAI 2009, arXiv:1205.2618.
    """
    each = F.softplus((users * (negatives - positives)).sum(1))
    return each.mean() if counts is None else (each * counts).sum() / counts.sum().clamp(min=1)


def sampled_softmax_loss(users: Float[Tensor, "batch dim"], positives: Float[Tensor, "batch dim"],
                         negatives: Float[Tensor, "samples dim"], *, temperature: float = 1.0,
                         log_q: Float[Tensor, " samples"] | None = None) -> Float[Tensor, ""]:
    r"""Cross-entropy of the positive against negatives that the whole batch shares.

    .. math:: -\ln \frac{e^{s_{ui}/\tau}}{e^{s_{ui}/\tau} + \sum_j e^{s_{uj}/\tau - \ln q_j}}

    Args:
        users: one vector per positive pair.
        positives: the item of each pair.
        negatives: sampled items.
        temperature: :math:`\tau > 0`.
        log_q: log of the expected number of times each negative is drawn; without it all items count alike.

    Source: Yi et al., RecSys 2019, doi:10.1145/3298689.3346996.
    """
    positive = (users * positives).sum(1, keepdim=True) / temperature
    negative = users @ negatives.T / temperature
    if log_q is not None:
        negative = negative - log_q
    return (torch.cat([positive, negative], dim=1).logsumexp(1) - positive[:, 0]).mean()


def l2_loss(*vectors: Float[Tensor, "batch _"]) -> Float[Tensor, ""]:
    r"""Half the squared length of the vectors that a batch touches, :math:`\frac{1}{2|B|}\sum \lVert e \rVert^2`."""
    return sum((v.square().sum() for v in vectors), start=vectors[0].new_zeros(())) / (2 * len(vectors[0]))

"""What a user's list is like beyond being right: how popular, how varied, how surprising, how like the user's history.

Lists are as in `mmgraph.eval.exposure`. Each measure gives one number per user, NaN where it is undefined; the caller
averages. A relation over users has one row per list: ``relation.rows(users)``.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmgraph.data.types import Floats
from mmgraph.eval.exposure import list_matrix
from mmgraph.graph.relation import Relation

COLUMNS = 64  # of a feature matrix, held in float64 at a time


def novelty(lists: Int[Tensor, "users k"], popularity: Int[Tensor, " items"],
            n_users: int) -> Float[Tensor, " users"]:
    r"""Mean self-information of the listed items, :math:`-\log_2 (c_i / n)`, in bits.

    Args:
        lists: item numbers, −1 for none.
        popularity: :math:`c_i`, users who took each item in training; an item that nobody took counts as if one had.
        n_users: :math:`n`, users with a training interaction.

    Returns:
        Value in [0, log2 n]; NaN for an empty list.

    Source: Zhou et al. 2010, doi:10.1073/pnas.1000488107; the rule for an item that nobody took is RecTools'.
    """
    return _mean(-(popularity.clamp(min=1).double() / n_users).log2()[lists], lists >= 0)


def average_popularity(lists: Int[Tensor, "users k"], popularity: Int[Tensor, " items"]) -> Float[Tensor, " users"]:
    """Mean number of training interactions of the listed items, at least 0; NaN for an empty list.

    Source: Yin et al. 2012, doi:10.14778/2311906.2311916.
    """
    return _mean(popularity.double()[lists], lists >= 0)


def popularity_lift(lists: Int[Tensor, "users k"], profiles: Relation,
                    popularity: Int[Tensor, " items"]) -> Float[Tensor, " users"]:
    """Average popularity of the list over that of the user's own items, minus 1.

    Args:
        lists: item numbers, −1 for none.
        profiles: the items that each user is known to have taken.
        popularity: training interactions of each item.

    Returns:
        Value of at least −1: 0 if the list is as popular as what the user takes, 1 if twice as popular; NaN for an
        empty list and for a user who took no item with a training interaction.

    Source: Abdollahpouri et al. 2020, doi:10.1145/3383313.3418487.
    Deviation: they divide means over a group of users; this is the ratio of each user.
    """
    taken = _ones(profiles)
    own = torch.from_numpy(taken @ popularity.cpu().double().numpy() / _positive(taken.sum(1))).to(lists.device)
    return average_popularity(lists, popularity) / torch.where(own > 0, own, torch.nan) - 1


def diversity(lists: Int[Tensor, "users k"], x: Float[Tensor, "items dim"],
              present: Bool[Tensor, " items"]) -> Float[Tensor, " users"]:
    r"""Mean distance 1 − cosine of two listed items by the content of one modality.

    .. math:: 1 - \frac{\lVert \sum_i z_i \rVert^2 - n}{n(n-1)}, \qquad z_i = x_i / \lVert x_i \rVert

    Args:
        lists: item numbers, −1 for none.
        x: one row per item.
        present: which items have the modality; pairs with one that lacks it, or whose row is zero, do not count.

    Returns:
        Value in [0, 2]; NaN where fewer than two listed items have the modality.

    Source: Ziegler et al. 2005, doi:10.1145/1060745.1060754; as a distance Zhang & Hurley 2008,
        doi:10.1145/1454008.1454030.
    """
    norm = torch.linalg.vector_norm(x, dim=1, dtype=torch.float64)
    counts = present & (norm > 0)
    kept = lists.masked_fill((lists < 0) | ~counts[lists], -1)
    listed = list_matrix(kept, len(x))
    scale = torch.where(counts, norm.reciprocal(), 0)[:, None]
    squares = np.zeros(len(lists))
    for columns in x.split(COLUMNS, dim=1):
        squares += np.square(listed @ (columns.double() * scale).cpu().numpy()).sum(1)
    n = (kept >= 0).sum(1).double()
    cosine = (torch.from_numpy(squares).to(n) - n) / torch.where(n > 1, n * (n - 1), torch.nan)
    return (1 - cosine).clamp(0, 2)


def serendipity(lists: Int[Tensor, "users k"], held: Relation,
                popularity: Int[Tensor, " items"]) -> Float[Tensor, " users"]:
    r"""Mean over the list of how much more the user is shown a relevant item than popularity alone would show it.

    .. math:: \frac{1}{|L_u|} \sum_{r} h_{ur} \max(p_r - q_{ur}, 0), \qquad p_r = \frac{N + 1 - r}{N},
              \quad q_{ur} = \frac{N + 1 - s_{ur}}{N}

    :math:`h_{ur}`: whether the item at rank r is held out; :math:`s_{ur}`: its rank by popularity, 1 for the most
    popular, equal counts sharing a rank; :math:`q_{ur} = 0` for an item without training interaction; N: all items.

    Args:
        lists: item numbers, −1 for none.
        held: held-out interactions.
        popularity: training interactions of each item.

    Returns:
        Value in [0, 1]; NaN for an empty list and for a user without held-out items.

    Source: this is RecTools' definition, after Ge, Delgado-Battenfeld & Jannach 2010, doi:10.1145/1864708.1864761.
    Deviation: RecTools gives 0 for a user without held-out items.
    """
    n, ranks = len(popularity), torch.arange(lists.shape[1], device=lists.device)
    rarity = len(popularity.unique()) - 1 - popularity.unique(return_inverse=True)[1]  # 0 for the most popular
    by_anyone = torch.where(popularity > 0, (n - rarity).double() / n, 0)
    hits = held.contains(torch.arange(len(lists), device=lists.device), lists)
    gain = ((n - ranks).double() / n - by_anyone[lists]).clamp(min=0) * hits
    has_held = (held.indptr.diff() > 0).to(lists.device)
    return torch.where(has_held, _mean(gain, lists >= 0), torch.nan)


def calibration(lists: Int[Tensor, "users k"], profiles: Relation, categories: Relation, *,
                alpha: float = 0.01) -> Float[Tensor, " users"]:
    r"""Divergence of the categories in the list from those in the user's history, in nats; 0 is calibrated.

    .. math:: \sum_c p_{uc} \ln \frac{p_{uc}}{(1-\alpha) q_{uc} + \alpha p_{uc}}
              = -\ln\alpha - \sum_c p_{uc} \ln\Bigl(1 + \frac{(1-\alpha) q_{uc}}{\alpha\, p_{uc}}\Bigr)

    p, q: mean over the user's, and over the listed, items of an item's categories; an item's k categories count 1/k
    each (in proportion to the weights of the relation), and an item without category does not count.

    Args:
        lists: item numbers, −1 for none.
        profiles: the items that each user is known to have taken.
        categories: item → category.
        alpha: smoothing, in (0, 1).

    Returns:
        Value in [0, −ln α], smaller is better; NaN where no item of the history, or of the list, has a category.

    Source: Steck 2018, doi:10.1145/3240323.3240372. Deviation: he may weigh items by rank or age; here all count alike.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}.")
    of_item = _shares(categories.scipy().astype(np.float64))
    p, q = _shares(_ones(profiles) @ of_item), _shares(list_matrix(lists, categories.n_source) @ of_item)
    inverse = p.copy()
    inverse.data = 1 / inverse.data
    ratio = q.multiply(inverse).tocsr()  # q/p where both are positive
    ratio.data = np.log1p((1 - alpha) / alpha * ratio.data)
    found = np.maximum(-np.log(alpha) - p.multiply(ratio).sum(1), 0)
    undefined = (p.sum(1) == 0) | (q.sum(1) == 0)
    return torch.from_numpy(np.where(undefined, np.nan, found)).to(lists.device)


def _mean(values: Tensor, listed: Tensor) -> Tensor:
    """Mean over the places that hold an item; NaN where none does."""
    return torch.where(listed, values, 0).sum(1) / listed.sum(1)


def _ones(relation: Relation) -> sp.csr_array:
    """Source × target matrix of float64 ones, whatever the weights."""
    matrix = relation.scipy()
    return sp.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def _shares(matrix: sp.csr_array) -> sp.csr_array:
    """Each row over its sum, without stored zeros; an empty row stays empty."""
    matrix.eliminate_zeros()
    return sp.csr_array(sp.diags_array(1 / _positive(matrix.sum(1))) @ matrix)


def _positive(sums: Floats) -> Floats:
    return np.where(sums > 0, sums, 1.0)

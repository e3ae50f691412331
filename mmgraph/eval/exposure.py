"""What lists do to the catalogue: how often each item is shown, how evenly, and how much the users' lists differ.

Lists are item numbers, one row per user, best first, −1 where there is no item; no item is listed twice in a row. The
measures of the catalogue are one number each and know no right or wrong items.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Int, Real
from torch import Tensor


def exposure(lists: Int[Tensor, "users k"], n_items: int) -> Int[Tensor, " items"]:
    """How many lists each item is in; restrict it to the candidates, ``exposure[mask]``, before measuring it.

    Raises:
        ValueError: if an entry is neither −1 nor an item number.
    """
    if lists.numel() and not -1 <= int(lists.min()) <= int(lists.max()) < n_items:
        raise ValueError(f"lists must hold item numbers in [0, {n_items}), or −1 for no item, "
                         f"got {int(lists.min())} … {int(lists.max())}.")
    return torch.bincount(lists[lists >= 0].long(), minlength=n_items)


def coverage(exposure: Real[Tensor, " items"]) -> float:
    """Share of the items that are in at least one list, in [0, 1]; NaN if there are no items.

    Source: Ge, Delgado-Battenfeld & Jannach, RecSys 2010, doi:10.1145/1864708.1864761.
    """
    return float((exposure > 0).double().mean())


def gini(exposure: Real[Tensor, " items"]) -> float:
    r"""Gini coefficient of the exposure, in [0, 1 − 1/n]: 0 if all items are shown equally often, largest if one is.

    .. math:: \frac{\sum_{r=1}^{n} (2r - n - 1)\, c_{(r)}}{n \sum_r c_{(r)}}

    :math:`c_{(1)} \le \dots \le c_{(n)}`: exposures; items never shown count. NaN if nothing is shown.

    Source: Gini 1912; for recommendation Fleder & Hosanagar 2009, doi:10.1287/mnsc.1080.0974.
    """
    n, ordered = len(exposure), exposure.double().sort().values
    ranks = torch.arange(1 - n, n, 2, dtype=torch.float64, device=ordered.device)
    return float((ranks * ordered).sum() / (n * ordered.sum()))


def exposure_entropy(exposure: Real[Tensor, " items"]) -> float:
    r"""Shannon entropy of the exposure in bits, :math:`-\sum_i p_i \log_2 p_i` with :math:`p_i = c_i / \sum_j c_j`.

    Returns:
        Value in [0, log2 n]: 0 if only one item is shown, largest if all n are shown equally; NaN if nothing is shown.

    Source: Shannon 1948, doi:10.1002/j.1538-7305.1948.tb01338.x.
    """
    share = exposure.double() / exposure.sum()
    return float(torch.special.entr(share).sum() / np.log(2))


def normalised_exposure_entropy(exposure: Real[Tensor, " items"]) -> float:
    """`exposure_entropy` over its largest possible value log2 n, in [0, 1]; NaN if there is only one item.

    Source: Pielou 1966, doi:10.1016/0022-5193(66)90013-0 (evenness).
    """
    n = len(exposure)
    return exposure_entropy(exposure) / float(np.log2(n)) if n > 1 else float("nan")


def personalisation(lists: Int[Tensor, "users k"], n_items: int) -> float:
    r"""One minus the mean overlap of two users' lists, over all pairs of users, in [0, 1]: 0 if all have the same list.

    .. math:: 1 - \frac{1}{n(n-1)} \sum_{u \ne v} \frac{|L_u \cap L_v|}{\sqrt{|L_u|\,|L_v|}}
              = 1 - \frac{\sum_i w_i^2 - n}{n(n-1)}, \qquad w_i = \sum_{u: i \in L_u} |L_u|^{-1/2}

    Exact, without any user × user matrix. Where all lists have k items the overlap is the share of common items and the
    sum is :math:`\sum_i c_i (c_i - 1) / k` of the exposures :math:`c_i`; two lists of different length overlap by the
    cosine of their indicators, so that equal lists overlap fully however short they are. Users without a list do not
    count; NaN with fewer than two others.

    Source: Zhou et al. 2010, doi:10.1073/pnas.1000488107 (inter-list distance, for lists of equal length).
    """
    listed = lists >= 0
    length = listed.sum(1)
    n = int((length > 0).sum())
    if n < 2:
        return float("nan")
    weight = length.clamp(min=1).double().rsqrt()[:, None].expand(lists.shape)[listed]
    shown = torch.bincount(lists[listed].long(), weights=weight, minlength=n_items)
    return float((1 - (shown.square().sum() - n) / (n * (n - 1))).clamp(0, 1))  # rounding


def list_matrix(lists: Int[Tensor, "users k"], n_items: int) -> sp.csr_array:
    """User × item matrix of ones (float64) where the item is in the user's list."""
    listed = (lists >= 0).cpu().numpy()
    starts = np.append(0, listed.sum(1).cumsum())
    columns = lists.cpu().numpy()[listed]
    return sp.csr_array((np.ones(len(columns)), columns, starts), shape=(len(lists), n_items))

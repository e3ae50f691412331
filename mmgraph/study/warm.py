"""Fits of one warm model beside many cold-start settings: the warm model is fitted once."""

from collections.abc import Mapping
from typing import Any

from mmgraph.data.split import Split
from mmgraph.features.features import Features
from mmgraph.models.base import Model
from mmgraph.models.cold_start import NEW_ITEMS
from mmgraph.models.fitted import Fitted
from mmgraph.study.fit import fit, with_cold_start

SILENT = frozenset({"checkpoint", "on_epoch", "progress_bar"})  # change no number
_last: list[tuple[Any, Any, Fitted]] = []  # one entry: key, what it names by id (kept, so that the id stays theirs)


def fitted_by(cls: type[Model], split: Split, features: Features | None, *, seed: int,
              settings: Mapping[str, Any]) -> Fitted:
    """What `fit` gives, to the last bit. Where the settings name a cold-start method, the warm model is that of the
    call before if it was fitted with the same settings on the same split and features: a search that varies the method
    alone waits for it once.

    Args:
        cls: class of the warm model.
        split: what to fit on.
        features: content of the items.
        seed: of parameters and training.
        settings: all other arguments of `fit`; the method by name.
    """
    if "cold" not in settings:
        return fit(cls, split, features, seed=seed, **settings)
    of_warm = {name: v for name, v in settings.items() if name != "cold" and not NEW_ITEMS.owns(name)}
    read = (features, split.data.item_content, split.data.user_content)
    key = (cls, split.fingerprint, split.blind, seed, *map(id, read),
           sorted((name, repr(v)) for name, v in of_warm.items() if name not in SILENT))
    if not _last or _last[0][0] != key:
        of_warm = {"monitor_on": ("warm",)} | of_warm
        _last[:] = [(key, read, fit(cls, split, features, seed=seed, **of_warm))]
    method = NEW_ITEMS.by_name(settings["cold"], NEW_ITEMS.own(settings))
    return with_cold_start(_last[0][2], split, method, seed=seed, attributes=settings.get("attributes", ()))

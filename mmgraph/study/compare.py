"""Several models on one split: all fitted first, then read once on the held-out part."""

import logging
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any, get_args

from mmgraph.data.split import TEST, VALID, Split
from mmgraph.eval.evaluate import Part, evaluate
from mmgraph.eval.metrics import NAMES
from mmgraph.features.features import Features
from mmgraph.graph.switches import Switch, switch_words
from mmgraph.models.base import Model, Trained, check_hyperparameters
from mmgraph.models.cold_start import NEW_ITEMS, WithColdStart
from mmgraph.models.fitted import Fitted
from mmgraph.models.scorers import Scorer
from mmgraph.models.user_start import NEW_USERS, apart
from mmgraph.study.comparison import Comparison, Row
from mmgraph.study.fit import fit
from mmgraph.train.robust import GroupRobust

log = logging.getLogger(__name__)
OPTIONS = frozenset(signature(fit).parameters) - {"cls", "split", "features", "seed", "hyperparameters"}
UNRECORDED = frozenset({"progress_bar", "checkpoint", "on_epoch"})  # change no number
UNTRAINED = frozenset({"attributes", "device"})  # all that matters to a closed form


def compare(models: Mapping[str, tuple[type[Model], Mapping[str, Any]]], split: Split,
            features: Features | None = None, *, seed: int = 0, part: Part = "test", ks: Sequence[int] = (10, 20),
            metrics: Sequence[str] = ("recall", "ndcg"), extra: Mapping[str, Scorer] | None = None,
            **options: Any) -> Comparison:
    """Fit models on one split and measure them.

    Epochs are chosen on validation. The test part is unlocked once, after the last model has been fitted.

    Args:
        models: label → class and arguments of `fit`: hyper-parameters of the model, and options of its own.
        split: what to fit and measure on.
        features: content of the items.
        seed: of parameters and training, the same for all.
        part: the part to measure on.
        ks: list lengths, see `evaluate`.
        metrics: names of metrics, see `evaluate`.
        extra: label → scorer to measure beside the models, no competitor: an oracle, chance.
        options: options of `fit` for all models.

    Raises:
        KeyError: for an unknown metric.
        TypeError: for an option or hyper-parameter that does not exist.
        ValueError: if there is no model, two have one label, the part is empty, or k exceeds the catalogue.
    """
    extra = extra or {}
    check_models(models, extra, options)
    check_reading(split, part, ks, metrics, extra)
    about = provenance(split, features, seed, part)
    fitted = {}
    for label, (cls, given) in models.items():
        fitted[label] = fit(cls, split, features, seed=seed, **{**options, **given})
        log.info("fitted %s in %.1f s, %d epochs.", label, fitted[label].seconds, len(fitted[label].history))
    split, rows = split.unlock_test() if part == "test" else split, []
    for label, scorer in {**fitted, **extra}.items():
        found = evaluate(scorer, split, part=part, ks=ks, metrics=metrics)
        model = _of_model(fitted[label], {**options, **models[label][1]}) if label in fitted else _of_extra(scorer)
        rows += [Row(**{name: _number(value) for name, value in row.items()}, model=label, part=part,
                     split=found.split, seed=seed, **model) for row in found.rows()]
    return Comparison(rows, fitted, split, about)


def check_models(models: Mapping[str, tuple[type[Model], Mapping[str, Any]]], extra: Mapping[str, Scorer],
                 options: Mapping[str, Any]) -> None:
    """Refuse what would fail, or mean nothing, after hours of training."""
    if not models:
        raise ValueError("there is no model to compare; give label → (class, arguments).")
    if both := sorted(set(models) & set(extra)):
        raise ValueError(f"{both} name a model and an extra scorer; give each a label of its own.")
    if unknown := sorted(set(options) - OPTIONS):
        raise TypeError(f"fit has no option {', '.join(map(repr, unknown))}; it has {', '.join(sorted(OPTIONS))}. "
                        f"Hyper-parameters belong to their model: label → (class, arguments).")
    if options.get("checkpoint") is not None:
        raise TypeError("one checkpoint cannot hold several models; give each its own: label → (class, "
                        "{'checkpoint': folder}).")
    for cls, given in models.values():
        check_hyperparameters(cls, {name: value for name, value in given.items() if name not in OPTIONS
                                    and not NEW_ITEMS.owns(name) and not NEW_USERS.owns(name)})
        NEW_ITEMS.check(given.get("cold", options.get("cold")), NEW_ITEMS.own(given))
        NEW_USERS.check(given.get("new_users", options.get("new_users")), NEW_USERS.own(given))


def check_reading(split: Split, part: str, ks: Sequence[int], metrics: Sequence[str],
                  extra: Mapping[str, Scorer]) -> None:
    """Refuse a reading that cannot succeed before anything is fitted."""
    if part not in get_args(Part):
        raise ValueError(f"part must be one of {', '.join(get_args(Part))}, got {part!r}.")
    if not (split.part == {"valid": VALID, "test": TEST}[part]).any():
        raise ValueError(f"the {part} part of {split!r} is empty; choose a protocol that holds some out.")
    if unknown := sorted(set(metrics) - set(NAMES)):
        raise KeyError(f"no metric {unknown}; there are {sorted(NAMES)}.")
    if not (ks and metrics) or not all(1 <= k <= len(split.data.items) for k in ks):
        raise ValueError(f"there must be a metric, and every k must lie in [1, {len(split.data.items)}], the size of "
                         f"the catalogue; got metrics {list(metrics)}, ks {list(ks)}.")
    for label, scorer in extra.items():
        if scorer.n_items != len(split.data.items):
            raise ValueError(f"{label} ranks {scorer.n_items} items, the split has {len(split.data.items)}.")


def provenance(split: Split, features: Features | None, seed: int, part: str) -> dict[str, str]:
    """What one needs to know to repeat a comparison that begins now."""
    opened = "already unlocked when the comparison began" if split.unlocked else (
        "locked until all models were fitted" if part == "test" else "not read")
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "data": repr(split.data),
            "data fingerprint": split.data.fingerprint, "split": repr(split), "split fingerprint": split.fingerprint,
            "protocol parameters": ", ".join(f"{name} = {value}" for name, value in split.parameters.items()) or "none",
            "part read": part, "test part": opened, "features": repr(features) if features is not None else "none",
            "seed": str(seed), "mmgraph": _version("mmgraph"), "torch": _version("torch"),
            "python": platform.python_version(), "platform": platform.platform()}


def _of_model(fitted: Fitted, given: Mapping[str, Any]) -> dict[str, Any]:
    (model, start), added = apart(fitted.model), ""
    if isinstance(model, WithColdStart):
        model, added = model.warm, f"+{type(model.method).__name__}"
    added += "" if start is None else f"+{type(start).__name__}"
    recorded = OPTIONS - UNRECORDED - {"cold", "new_users"} if isinstance(model, Trained) else UNTRAINED
    options = {name: written(value) for name, value in given.items() if name in recorded}
    return {"cls": type(model).__name__ + added, "competitor": True, "seconds": fitted.seconds,
            "epochs": len(fitted.history), "hyperparameters": fitted.model.hyperparameters(), "options": options}


def written(option: Any) -> Any:
    """An option of `fit` as it stands in results: group-robust training by its fields, a switch by its name and fields,
    another function by what it says of itself.
    """
    if isinstance(option, GroupRobust):
        return asdict(option)
    if isinstance(option, Switch):
        return switch_words(option)
    return repr(option) if callable(option) else option


def _of_extra(scorer: Scorer) -> dict[str, Any]:
    return {"cls": type(scorer).__name__, "competitor": False, "seconds": None, "epochs": None, "hyperparameters": {},
            "options": {}}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "run from source, not installed"

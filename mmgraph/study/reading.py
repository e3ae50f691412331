"""The end of a study: train with the settings that won, read the held-out part once, and say all that a row says."""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mmgraph.data.folder import whole_files
from mmgraph.data.split import Pairs, Split
from mmgraph.data.types import Floats
from mmgraph.eval.evaluate import Evaluation, evaluate
from mmgraph.eval.shapley import Shapley, modality_shapley
from mmgraph.features.controls import exchange, noise, permuted
from mmgraph.features.features import Features
from mmgraph.models.fitted import Fitted
from mmgraph.study.by_group import beyond_accuracy, by_group
from mmgraph.study.loggers import Logger
from mmgraph.study.look import Look, chosen, entered
from mmgraph.study.phases import measured
from mmgraph.study.provenance import circumstances
from mmgraph.study.result import Result
from mmgraph.study.search import NUMERIC
from mmgraph.study.space import plain
from mmgraph.study.study import Study
from mmgraph.study.suspicion import suspicion
from mmgraph.study.warm import fitted_by

USERS = "users"
UNRECORDED = frozenset({"checkpoint", "progress_bar", "on_epoch"})


def attempted_look(study: Study, look: Look) -> Result | str:
    """See `looked`; what went wrong, in words, if the training failed numerically."""
    try:
        return looked(study, look)
    except NUMERIC as error:
        return f"{look.name}: {type(error).__name__}: {error}"


def looked(study: Study, look: Look) -> Result:
    """Train, read, write the values per user, and return the row."""
    split, settings = study.turns[look.turn].split, chosen(study, look.label, look.search)
    split = split.joined() if study.retrain else split
    features = damaged(study.features, split, look.control, look.seed)
    given = split if look.control is None else exchanged(split, settings.get("attributes", ()), look.seed)
    running = look.folder / "running" / look.name
    if look.logger is not None:
        look.logger.start(look.name, settings)
    with measured() as fitting:
        fitted = fitted_by(study.candidates[look.label].cls, given.blinded(), features, seed=look.seed, settings={
            "monitor": study.monitor, "monitor_on": study.watched_by(look.label), "progress_bar": False,
            "checkpoint": running, "on_epoch": None if look.logger is None else watcher(look.logger),
            "device": study.device, **settings})
    nth, marks = entered(study, look, settings)
    with measured() as reading:
        whole = split.unlock_test()
        found = evaluate(fitted, whole, part="test", ks=study.ks, metrics=study.metrics, seen=study.seen)
        shapley = content_shares(study, look, fitted, whole)
        means, per_user = beyond_accuracy(found, whole, study.features, study.ks, study.categories)
        groups = by_group(found, whole, study.features, study.user_attributes, shapley)
        users = write_users(look.folder, look.name, found, whole, per_user, shapley)
    if look.logger is not None:
        look.logger.finish({f"{on} {metric}": found[on, metric] for on, metric in found.values})
    rmtree(running, ignore_errors=True)
    seconds = {"search": sum(t["seconds"] for t in look.search["trials"]), "fit": fitting.seconds,
               "read": reading.seconds}
    peaks = {"search": largest([t["peak_mb"] for t in look.search["trials"]]), "fit": fitting.peak_mb,
             "read": reading.peak_mb, "gpu": fitting.peak_gpu_mb}
    return Result(**about(study, look.turn, split), **figures(found), kind="control" if look.control else
                  study.kind(look.label), model=look.label, cls=study.candidates[look.label].name, control=look.control,
                  seed=look.seed, trained_on=["train", "valid"] if study.retrain else ["train"],
                  hyperparameters=plain(fitted.model.hyperparameters()), options=options(study, settings),
                  search=look.search, history=[plain(row) for row in fitted.history], beyond=means, groups=groups,
                  shapley={} if shapley is None else shapley.mean(), reading=nth,
                  marks=[*marks, *suspicions(fitted, whole)], users=users,
                  run={**circumstances(), "device": study.device, "seconds": seconds, "peak_mb": peaks})


def damaged(features: Features | None, split: Split, control: str | None, seed: int) -> Features | None:
    """The features that a control gets: warm and cold rows are moved among themselves."""
    if control is None or features is None:
        return features
    aligned = features.aligned(split.data.items)
    return permuted(aligned, seed=seed, n_known=split.n_warm_items) if control == "permuted" else \
        noise(aligned, seed=seed, n_known=split.n_warm_items)


def exchanged(split: Split, columns: Iterable[str], seed: int) -> Split:
    """The split with these columns of the item content as a control gets them: in the order of `permuted` features,
    for content can be read off an attribute too. Ids, interactions and fingerprint stay.
    """
    content = split.data.item_content  # has no rows in another process if it has no columns
    order = pa.array(exchange(len(split.data.items), seed, n_known=split.n_warm_items))
    for name in columns:
        if name in content.column_names:
            at = content.column_names.index(name)
            content = content.set_column(at, content.field(at), content[name].take(order))
    return replace(split, data=replace(split.data, item_content=content))


def about(study: Study, turn: int, split: Split) -> dict[str, Any]:
    """The fields that all rows of a turn share; a parameter that differs between turns is told by their number. The
    fingerprint of the data depends on the numbering, which each split changes, so that the first stands for all.
    """
    data, others = study.turns[0].split.data, [turn.split.parameters for turn in study.turns]
    same = {name: value for name, value in split.parameters.items()
            if len({repr(given.get(name)) for given in others}) == 1}
    return {"study": study.name, "plan": study.plan_hash, "features": study.contents, "part": "test",
            "data": {"name": study.data, "fingerprint": data.fingerprint, "card": study.card},
            "split": {"name": split.name, "parameters": plain(same), "seed": split.seed, "fold": turn,
                      "fingerprint": split.fingerprint}}


def figures(found: Evaluation) -> dict[str, Any]:
    """Means, intervals and counts by candidate set."""
    metrics: dict[str, dict[str, float | None]] = {}
    halves: dict[str, dict[str, float | None]] = {}
    n_users: dict[str, int] = {}
    for row in found.rows():
        on = row["candidates"]
        metrics.setdefault(on, {})[row["metric"]] = number(row["mean"])
        halves.setdefault(on, {})[row["metric"]] = number(row["half_width"])
        n_users[on] = max(n_users.get(on, 0), row["n_users"])
    return {"metrics": metrics, "half_widths": halves, "n_users": n_users, "n_candidates": dict(found.n_candidates)}


def options(study: Study, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fit` that were given, and what was left out of the lists."""
    from mmgraph.study.compare import OPTIONS

    given = {name: value for name, value in settings.items() if name in OPTIONS - UNRECORDED - {"cold", "new_users"}}
    return plain({**given, "monitor": study.monitor, "monitor_on": study.watched, "seen": study.seen})


def content_shares(study: Study, look: Look, fitted: Fitted, split: Split) -> Shapley | None:
    """Shapley values of the modalities of a model that reads content."""
    wanted = study.content_shares and not look.control and type(fitted.model).reads_content
    if not wanted or study.features is None or not study.features.dims:
        return None
    on = "all" if len(study.watched) > 1 or study.watched[0] == "warm" else study.watched[0]
    return modality_shapley(fitted, split, part="test", metric=study.monitor, candidates=on, seen=study.seen)


def write_users(folder: Path, name: str, found: Evaluation, split: Split, per_user: Mapping[str, Mapping[str, Floats]],
                shapley: Shapley | None) -> dict[str, str]:
    """The values per user as Parquet: user, candidates, metrics and measures beyond accuracy; and its hash."""
    tables = []
    for on in found.n_candidates:
        columns = {metric: values for (of, metric), values in found.values.items() if of == on}
        users = pa.array(split.data.users.names(found.users))
        tables.append(pa.table({"user": users, "candidates": pa.array([on] * len(users)), **columns, **per_user[on]}))
    out = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), out)
    (folder / USERS).mkdir(parents=True, exist_ok=True)
    with whole_files(folder / USERS) as new:
        (new / f"{name}.parquet").write_bytes(out.getvalue())
        if shapley is not None:
            shares = dict(zip(shapley.modalities, shapley.values.T, strict=True))
            pq.write_table(pa.table({"user": list(shapley.users), "(none)": shapley.none, **shares}),
                           new / f"{name}.shapley.parquet")
    return {"file": f"{USERS}/{name}.parquet", "sha256": hashlib.sha256(out.getvalue()).hexdigest()}


def suspicions(fitted: Fitted, split: Split) -> list[str]:
    """Marks of a model that knows validation though it was not trained on it: validation interactions are edges of the
    graph that it scores with, or it ranks them far too well.
    """
    if split.trains_on_valid:
        return []
    if there := contained(fitted, split.valid):
        return [f"the graph that this model scores with holds {there} validation interactions, and its row does not "
                f"say that it was trained on validation"]
    return suspicion(fitted, split, ("train",))


def contained(fitted: Fitted, pairs: Pairs) -> int:
    """How many of these interactions the graph of a fitted model holds."""
    edges = fitted.graph.interactions
    users, items = torch.from_numpy(pairs.users), torch.from_numpy(pairs.items)
    return int(edges.contains(users.to(edges.indices.device), items[:, None].to(edges.indices.device)).sum())


def watcher(logger: Logger) -> Any:
    """A callback for `fit` that tells a logger of every epoch."""
    def watch(row: Mapping[str, Any]) -> None:
        logger.log({name: float(value) for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    return watch


def number(value: float) -> float | None:
    """A number of JSON."""
    return None if np.isnan(value) else float(value)


def largest(values: list[float | None]) -> float | None:
    """The largest; none if one is unknown."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None

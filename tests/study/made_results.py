"""Results as a study writes them, made up: every kind of row, with all that pages, tables and pictures show."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgraph.study.result import FIRST, Result, append, digest, read
from mmgraph.study.summary import Cell, Line, Summary

KINDS = {"FREEDOM": "model", "VBPR": "model", "LightGCN": "model", "Popularity": "baseline", "EASE": "baseline",
         "validation popularity": "reference"}
SETS = {"warm": 5_640, "cold": 1_410, "all": 7_050}
METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
BUCKETS = ("0", "1–5", "6–20", "21–100", "101–950")
USERS = {"user activity": ("4–5", "6–9", "10–120"), "user gender": ("F", "M", "(none)")}
MODALITIES = ("image", "text")
CONTROLS = (None, "permuted", "noise")


def rows(kinds=KINDS, seeds=(0, 1, 2), metrics=METRICS, sets=SETS, n_trials=8, n_epochs=15, data="baby", n_users=50):
    """Rows without hashes; models are better the earlier they come, and have controls if written in capitals."""
    found = []
    for rank, (model, kind) in enumerate(kinds.items()):
        for control in CONTROLS if model.isupper() and kind == "model" else CONTROLS[:1]:
            rng = np.random.default_rng([rank, CONTROLS.index(control)])
            level = 0.11 / (1 + 0.15 * rank) - 0.02 * (control is not None)
            found += [row(model, kind, control, seed, level, rng, metrics, sets, n_trials, n_epochs, data, n_users)
                      for seed in seeds]
    return found


def row(model, kind, control, seed, level, rng, metrics, sets, n_trials, n_epochs, data, n_users):
    content = kind == "model"
    size = {"warm": 1.0, "cold": 0.6 if content else 0.05, "all": 0.8}
    means = {name: {m: round(float(level * size[name] * (0.5 if "ndcg" in m else 1) + rng.normal(0, 2e-3)), 6)
                    for m in metrics} for name in sets}
    ks = sorted({int(m.partition("@")[2] or 0) for m in metrics})
    seconds = float(rng.gamma(2, 40 if content else 0.4))
    return Result(
        study="which model", plan="9f2c41d07ab35e68", kind=kind if control is None else "control", model=model,
        cls=model.title(), control=control, data={"name": data, "fingerprint": "d" * 16, "card": "c" * 64},
        split={"name": "ColdItems", "parameters": {"share": 0.2}, "seed": 0, "fingerprint": "5" * 16},
        seed=seed, metrics=means, half_widths={n: dict.fromkeys(metrics, 0.004) for n in sets},
        n_users=dict.fromkeys(sets, n_users), n_candidates=dict(sets), users={"file": "", "sha256": ""},
        features={"image": "a" * 16, "text": "b" * 16} if content else None,
        hyperparameters={"dim": 64, "l2": 1e-4, "layers": 2}, options={"lr": 1e-3, "max_epochs": n_epochs},
        search=search(0.1 / len(model), n_trials, np.random.default_rng(len(model))) if kind != "reference" else {},
        history=history(level, n_epochs, rng) if content else (),
        beyond={name: beyond(level * size[name] + 1e-3 * seed, ks, at) for at, name in enumerate(sets)},
        groups=groups(level + 1e-3 * seed, metrics, max(ks), content and not control),
        shapley={"image": level * 0.1, "text": level * 0.4, "(none)": level * 0.5} if content and not control else {},
        run={"date": "2026-01-02T03:04:05+00:00", "commit": "0123456789abcdef", "versions": {"torch": "2.11.0"},
             "hardware": {"cpu": "x86_64, 2 cores"}, "device": "cpu",
             "seconds": {"search": seconds * n_trials, "fit": seconds, "read": 1.25},
             "peak_mb": {"search": 812.5, "fit": 800.0, "read": 640.0}})


def beyond(level, ks, at):
    """Measures of one candidate set; lists have no profile to be lifted above among cold items."""
    found = {}
    for k in ks:
        per_user = {"novelty": 9 + 20 * level, "average_popularity": 40 - 200 * level,
                    "popularity_lift": None if at == 1 else 3 - 20 * level, "serendipity": level / 9,
                    **{f"diversity({m})": 0.4 + level for m in MODALITIES}, "calibration(genre)": 0.9 - 2 * level}
        catalogue = {"coverage": min(1.0, 6 * level), "gini": 0.99 - level, "exposure_entropy": 8 + level,
                     "normalised_exposure_entropy": 0.7 + level, "personalisation": 0.5 + level}
        found |= {f"{name}@{k}": value for name, value in {**per_user, **catalogue}.items()}
    return found


def groups(level, metrics, k, shares):
    """Means by group, as `by_group` names them."""
    hard = np.linspace(0.2, 1.6, len(BUCKETS))
    found = {"item popularity": {b: {f"recall@{k}": float(level * h), f"exposure ratio@{k}": float(h)}
                                 for b, h in zip(BUCKETS, hard, strict=True)}}
    for m in MODALITIES:
        found[f"item {m}"] = {f"with {m}": {f"recall@{k}": level, f"exposure ratio@{k}": 1.02},
                              f"without {m}": {f"recall@{k}": level / 2, f"exposure ratio@{k}": None}}
    more = {f"shapley {m}": level / 4 for m in MODALITIES} if shares else {}
    for kind, names in USERS.items():
        found[kind] = {name: {**{m: level / (1 + at) for m in metrics}, **more} for at, name in enumerate(names)}
    return found


def search(level, n_trials, rng):
    states = ["failed" if n % 7 == 5 else "pruned" if n % 5 == 3 else "complete" for n in range(n_trials)]
    trials = [{"number": n, "settings": {"lr": float(10 ** rng.uniform(-4, -2)), "layers": int(rng.integers(1, 4))},
               "valid": None if state == "failed" else float(level * rng.uniform(0.5, 1.02)), "state": state,
               "epochs": int(rng.integers(5, 60)), "seconds": float(rng.gamma(3, 9))} for n, state in enumerate(states)]
    best = max((t for t in trials if t["state"] == "complete"), key=lambda t: t["valid"], default=None)
    return {"sampler": "tpe", "budget": n_trials, "monitor": "recall@20", "chosen": best and best["number"],
            "trials": trials}


def history(level, n_epochs, rng):
    return [{"epoch": e, "seconds": 1.5, "bpr": 0.7 / e,
             "valid": float(level * (1 - np.exp(-e / 4)) + rng.normal(0, 1e-3)) if e % 2 else None}
            for e in range(1, n_epochs + 1)]


def chained(results):
    """The same rows as a file would hold them: each with its hash and that of the row before."""
    found, previous = [], FIRST
    for result in results:
        linked = asdict(result) | {"previous": previous}
        previous = digest(linked)
        found.append(Result(**linked | {"hash": previous}))
    return found


def written(folder, results):
    """The rows as a folder of results, with a Parquet file of values per user for each."""
    for number, result in enumerate(results):
        users = f"users-{number}.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(per_user(result, number), folder / users)
        sha = hashlib.sha256((folder / users).read_bytes()).hexdigest()
        append(folder, replace(result, users={"file": users, "sha256": sha}))
    return read(folder)


def per_user(result, number):
    """Values per user whose means are those of the row."""
    rng, columns = np.random.default_rng(number), {"user": [], "candidates": []}
    for name, means in result.metrics.items():
        n = result.n_users[name]
        columns["user"] += [f"u{u}" for u in range(n)]
        columns["candidates"] += [name] * n
        for metric, mean in means.items():
            noise = rng.normal(0, 0.02, n)
            columns.setdefault(metric, []).extend((mean + noise - noise.mean()).tolist())
    return pa.table(columns)


def summary(results, headline=("all", "recall@20"), winner=None, marks=None):
    """A table of the rows, made by hand: mean and sd over seeds, best first, ``winner`` the bold model."""
    labels = {(r.model, r.control): [x for x in results if (x.model, x.control) == (r.model, r.control)]
              for r in results}
    lines = [line(given, headline[1], model == winner and control is None, (marks or {}).get(model, ()))
             for (model, control), given in labels.items()]
    order = {"model": 0, "baseline": 0, "control": 1, "reference": 2}
    lines.sort(key=lambda one: (order[one.kind], -one.cells[headline].mean))
    columns = tuple((name, metric) for name, row in results[0].metrics.items() for metric in row)
    return Summary(f"{results[0].data['name']}, new items held out, test part", headline, columns, tuple(lines),
                   "Wilcoxon signed-rank test over users, Holm-corrected within a column, α = 0.05.")


def line(given, metric, wins, marks):
    one, cells = given[0], {}
    for name, row in one.metrics.items():
        for key in row:
            values = np.array([r.metrics[name][key] for r in given])
            mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None
            cells[name, key] = Cell(mean, sd, mean - 0.004, mean + 0.004, one.n_users[name], wins and key == metric,
                                    0.012, -0.0031, -0.21)
    words = {None: "", "permuted": ", features permuted", "noise": ", features replaced by noise"}[one.control]
    fit, peak = float(np.mean([r.run["seconds"]["fit"] for r in given])), max(one.run["peak_mb"].values())
    return Line(one.model + words, one.kind, len(given), cells, fit, one.run["seconds"]["search"], peak, tuple(marks))

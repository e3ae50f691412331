"""Write the tables of the README from the rows in ``results``: nothing is typed by hand.

python benchmarks/report.py
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from _cold_tables import cold, leakage, minilm, missing
from _rows import HERE, rows, where
from _studies import studies
from _zoo import blends, filled, gowalla, zoo
from accuracy import COLUMNS, DENSE, TASKS, folder, table

from mmgraph.study import Result, read
from mmgraph.study.grouping import lines as lines_of
from mmgraph.study.summary import marks_of, run_means
from mmgraph.study.tables import escaped

README = HERE.parent / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"


def main() -> None:
    """Replace what stands between the two marks, and the figures in the list of models."""
    text = README.read_text(encoding="utf-8")
    before, after = filled(text.partition(START)[0]), text.partition(END)[2]
    parts = (cold, missing, leakage, zoo, blends, gowalla, movielens, minilm, studies, accuracy, quick, audit, baby,
             pins, ranking, speed, encoders)
    found = [part() for part in parts]
    README.write_text("\n\n".join([f"{before}{START}\n## Results", *filter(None, found)]) + f"\n{END}{after}", "utf-8")


def quick() -> str:
    """Accuracy on samples."""
    return accuracy(quick=True)


def movielens() -> str:
    """Warm and cold films, all models."""
    found = [r for r in rows("movielens_cold") if r["what"] == "test" and not r["quick"]]
    if not found:
        return ""
    one, n = found[0], found[0]["n_candidates"]
    lines = [f"### MovieLens 1M from raw posters and plots, a fifth of the films unseen\n\n"
             f"Recall@20 / NDCG@20 on test, one split and one seed; settings and epochs chosen on validation, two "
             f"settings per model. `python benchmarks/movielens_cold.py`, {where(one)}.\n",
             f"| model | warm ({n['warm']:,} films) | cold ({n['cold']:,} films) | all ({n['all']:,} films) | "
             f"fit, s |", "|---|---|---|---|---|"]
    for r in found:
        name = r["model"] + (", features permuted" if r["features are"] == "permuted" else "")
        cells = (f"{r['metrics'][f'{on} recall@20']:.4f} ± {r['half widths'][f'{on} recall@20']:.4f} / "
                 f"{r['metrics'][f'{on} ndcg@20']:.4f}" for on in ("warm", "cold", "all"))
        lines.append(f"| {name} | {' | '.join(cells)} | {r['seconds']:.0f} |" if "seconds" in r
                     else f"| {name} | {' | '.join(cells)} | – |")
    late = sorted({f"{r['model']} (commit {r['commit']})" for r in found if r["commit"] != one["commit"]})
    if late:
        lines.append(f"\nAdded after the other rows had been read on test (settings still from validation): "
                     f"{', '.join(late)}. There the permuted control moves attributes and features together.")
    lines.append("\n± is half of the 95 % interval over users; columns cannot be compared with each other.")
    return "\n".join(lines)


def encoders() -> str:
    """The extraction stage beside the bare models."""
    found = rows("encoders")
    latest = {(r["what"], r["n"]): r for r in found if "throughput ratio" in r}
    if not latest:
        return ""
    lines = ["### Encoding\n\nThroughput of `encode` over that of the other side, both in turn in one process; "
             "medians. `python benchmarks/encoders.py`.\n",
             "| what | items | ours | other | throughput ratio | runs | commit, hardware |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {what} | {n:,} | {r['ours s']:.1f} s | {r['other s']:.1f} s | {r['throughput ratio']:.3f} | "
              f"{len(r['seconds']['ours'])} | {where(r)} |" for (what, n), r in latest.items()]
    lines += [f"\n{r['what']}: largest difference {r['largest difference']:.1e}."
              for r in latest.values() if "largest difference" in r]
    lines += [f"\n{r['what']}: {r['MB']:,.0f} MB with {r['n']:,} items, its largest worker "
              f"{r['largest worker MB']:,.0f} MB ({where(r)})." for r in found if "MB" in r]
    return "\n".join(lines)


def baby() -> str:
    """LightGCN on Baby."""
    found = [r for r in rows("lightgcn_baby") if r["what"] == "test"]
    if not found:
        return ""
    r = found[-1]
    figures = ", ".join(f"{name} {value:.4f}" for name, value in r["metrics"].items())
    return (f"### LightGCN on Amazon Baby, the standard split\n\n{figures} on test (published: recall@20 .0754, "
            f"ndcg@20 .0328); {r['settings']} chosen on validation, {r['epochs']} epochs, {r['seconds']:.0f} s with "
            f"all validation. `python benchmarks/lightgcn_baby.py`, {where(r)}.")


def accuracy(quick: bool = False) -> str:
    """The studies of public data sets, from their rows; winners are known only where a table was made of them."""
    places = {place: found for name in TASKS if (found := read(place := folder(name, quick)))}
    if not places:
        return ""
    what = ", quick: samples, few trials and epochs, for a look and not for citation" if quick else ""
    head = (f"### Accuracy on public data sets{what}\n\nOn test, all items are candidates; the same budget for every "
            f"model of a data set, settings chosen on validation, test read once per model and seed. "
            f"`python benchmarks/accuracy.py{' --quick' if quick else ''}`.")
    parts = ((studied(found), table(place) or plain_table(found), shares(found)) for place, found in places.items())
    told = [words.strip() for part in parts for words in part if words]
    return "\n\n".join([head, *(["<details><summary>Tables</summary>", *told, "</details>"] if quick else told)])


def studied(results: Sequence[Result]) -> str:
    """Of what, and where, a study was."""
    tried, fitted = results[0], [r for r in results if r.kind != "reference"]
    n_items = max(r.n_candidates["all"] for r in results)
    commits, machines = (sorted({r.run[name] or "unknown" for r in results}) for name in ("commit", "hardware"))
    without = "" if any(r.cls == "EASE" for r in results) else \
        f" Without EASE, whose weights are dense: it is left out of data with more than {DENSE:,} items."
    left_out = {"train": "training items", "known": "training and validation items"}[tried.options["seen"]]
    return (f"**{tried.data['name']}**: {tried.n_users['all']:,} users tested, {n_items:,} items, a user's {left_out} "
            f"left out; split seed {tried.split['seed']}; up to {tried.search['budget']} trials per model, seeds "
            f"{', '.join(map(str, sorted({r.seed for r in fitted})))} (closed forms: the first); commit "
            f"{', '.join(commits)}, {'; '.join(machines)}.{without}")


def plain_table(results: Sequence[Result]) -> str:
    """Means over seeds ± half widths; without the values per user nothing is tested, and nothing is bold."""
    runs = lines_of(results)
    marks = {name: marks_of(mine, runs) for name, mine in runs.items()}
    notes = list(dict.fromkeys(mark for of in marks.values() for mark in of))
    found = ["| model | " + " | ".join(metric for _, metric in COLUMNS) + " | fit, s |", "|---|" + "---|" * 5]
    for name in sorted(runs, key=lambda name: placed(runs[name])):
        cells = [f"{mean(run_means(runs[name], *of)):.4f} ± {half_width(runs[name], *of):.4f}" for of in COLUMNS]
        seconds = [r.run["seconds"]["fit"] for r in runs[name] if "fit" in r.run["seconds"]]
        cells.append(f"{mean(seconds):,.1f}" if seconds else "–")
        label = escaped(name) if runs[name][0].competitor else f"*{escaped(name)}*"
        label += "".join(f" <sup>{notes.index(mark) + 1}</sup>" for mark in marks[name])
        found.append(f"| {label} | {' | '.join(cells)} |")
    found.append("\nMean over seeds ± half of the 95 % interval over users; in italics: no competitor.")
    return "\n".join(found + [f"\n<sup>{at}</sup> {escaped(mark)}" for at, mark in enumerate(notes, start=1)])


def shares(results: Sequence[Result]) -> str:
    """What each modality is worth to each model, mean over seeds."""
    found = {name: runs for name, runs in lines_of(results).items() if runs[0].shapley}
    words = [f"{escaped(name)} " + ", ".join(f"{m} {mean(r.shapley[m] for r in runs):.4f}" for m in runs[0].shapley)
             for name, runs in found.items()]
    return f"Exact Shapley values by modality, and what is left without content: {'; '.join(words)}." if words else ""


def placed(runs: Sequence[Result]) -> tuple[int, float]:
    """Competitors first, then controls and references, each by Recall@20."""
    return {"control": 1, "reference": 2}.get(runs[0].kind, 0), -mean(run_means(runs, *COLUMNS[1]))


def half_width(runs: Sequence[Result], on: str, metric: str) -> float:
    """Mean of the half widths of the runs."""
    return mean(half for r in runs if (half := r.half_widths[on][metric]) is not None)


def audit() -> str:
    """Warnings about splits, and what training on validation buys."""
    latest = {r["data"]: r for r in rows("audit") if r["what"] == "diagnosis"}
    out = ["### Splits\n\n`python benchmarks/audit.py`."] if latest else []
    for data, r in latest.items():
        flagged = [f"\n* {f['name']}: {f['value']:.3g}, warns {f['worse']} {f['threshold']:.3g}. {f['text']}"
                   for f in r["findings"] if f["flagged"]]
        out.append(f"**{data}**, {escaped(r['protocol'])}, split {r['split']}. {r['verdict']} ({where(r)})"
                   + "".join(flagged))
    found = {(r["data"], r["model"], r["trained on"]): r for r in rows("audit") if r["what"] == "trained on"}
    if found:
        out.append(trained_on(found))
    return "\n\n".join(out)


def trained_on(found: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> str:
    """The same models and settings, with and without validation in training."""
    names = list(next(iter(found.values()))["metrics"])
    lines = [f"| data | model | trained on | {' | '.join(names)} | recall gained | commit, hardware |",
             "|---|---|---|" + "---|" * (len(names) + 2)]
    for (data, model, on), r in found.items():
        before = found.get((data, model, "train"))
        gain = f"{r['metrics'][names[0]] / before['metrics'][names[0]] - 1:+.1%}" if before and before is not r else "–"
        cells = " | ".join(f"{r['metrics'][name]:.4f}" for name in names)
        lines.append(f"| {data} | {model} | {on} | {cells} | {gain} | {where(dict(r))} |")
    return "\n".join(lines)


def ranking() -> str:
    """All metrics of all users beside the evaluators of others, and the memory it takes."""
    latest = {(r["what"], r["data"], r["users"], r.get("block_scores")): r for r in rows("ranking")}
    lines = ["### Ranking and metrics\n\nThe same blocks of scores for both sides, the seconds of the scores "
             "subtracted; medians. `python benchmarks/ranking.py`.\n",
             "| beside | data | users × items, K | ours | theirs | times as fast | bar | commit, hardware |",
             "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {r['what']} | {r['data']} | {r['users']:,} × {r['items']:,}, {r['k']} | {r['ours_s']:.2f} s | "
              f"{r['theirs_s']:.2f} s | {r['times']:.1f} | {r['bar']}{'' if r['met'] else ', missed'} | {where(r)} |"
              for r in latest.values() if "times" in r]
    lines += [f"\n{r['what']}, {r['data']}, users: {r['users']}: {r['grown_mb']:.0f} MB with blocks of "
              f"{r['block_mb']:.0f} MB ({where(r)})." for r in latest.values() if "grown_mb" in r]
    return "\n".join(lines) if latest else ""


def pins() -> str:
    """Known figures of simple models."""
    latest = {(r["data"], r["model"]): r for r in rows("pins")}
    if not latest:
        return ""
    lines = [f"### Pins\n\nRecall@10, Recall@20, NDCG@10, NDCG@20 on test, ours (known). `python benchmarks/pins.py`, "
             f"{where(next(iter(latest.values())))}.\n", "| data | model | | | | |", "|---|---|---|---|---|---|"]
    for (data, model), r in latest.items():
        cells = (f"{v:.4f} ({p:.4f})" for v, p in zip(r["metrics"].values(), r["pins"], strict=True))
        lines.append(f"| {data} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed() -> str:
    """Ratios of medians."""
    latest = {(r["what"], r["data"]): r for r in rows("speed") if not r.get("quick")}
    if not latest:
        return ""
    lines = ["### Speed\n\nBoth sides in turn in one process; medians. `python benchmarks/speed.py`, "
             f"{next(iter(latest.values()))['hardware']}.\n",
             "| what | data | ours | the usual way | ratio | bar | commit |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {what} | {data} | {r['ours_s'] * 1e3:,.0f} ms | {r['theirs_s'] * 1e3:,.0f} ms | {r['ratio']:.3f} | "
              f"{r['bar']}{'' if r['met'] else ', missed'} | {r['commit']} |" for (what, data), r in latest.items()]
    lines += [f"\n{r['what']}: {r['median_s']:.2f} s (median of {r['runs']}, {where(r)})."
              for r in [r for r in rows("rows") if not r.get("quick")][-1:]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

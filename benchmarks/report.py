"""Write the tables of the README from the rows in ``results``: nothing is typed by hand.

python benchmarks/report.py
"""

from statistics import mean, stdev
from typing import Any

from _rows import HERE, rows

README = HERE.parent / "README.md"
START, END = "<!-- results -->", "<!-- /results -->"


def main() -> None:
    """Replace what stands between the two marks."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    sections = [movielens(), minilm(), baby(), pins(), speed(), encoders()]
    new = before + START + "\n## Results\n\n" + "\n\n".join(s for s in sections if s) + "\n" + END + after
    README.write_text(new, encoding="utf-8")


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


def minilm() -> str:
    """Plots by two encoders, unseen films."""
    found = [r for r in rows("minilm_cold") if not r["quick"]]
    if not found:
        return ""
    lines = [f"### Plots by MiniLM and by TF-IDF, unseen films of MovieLens 1M\n\nCold Recall@20 / NDCG@20 on test by "
             f"seed of the split, then mean ± sd; settings chosen on validation, the same choices for both. "
             f"`python benchmarks/minilm_cold.py`, {where({**found[0], 'seed': 'of the split'})}.\n"]
    seeds = sorted({r["seed"] for r in found})
    lines += ["| model | encoder | " + " | ".join(f"seed {s}" for s in seeds) + " | mean ± sd |",
              "|---|---|" + "---|" * (len(seeds) + 1)]
    for model, encoder in dict.fromkeys((r["model"], r["encoder"]) for r in found):
        by_seed = {r["seed"]: r["test"] for r in found if (r["model"], r["encoder"]) == (model, encoder)}
        cells = [f"{by_seed[s]['recall@20']:.4f} / {by_seed[s]['ndcg@20']:.4f}" if s in by_seed else "not run"
                 for s in seeds]
        spread = [f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
                  for values in ([t[m] for t in by_seed.values()] for m in ("recall@20", "ndcg@20"))]
        lines.append(f"| {model} | {encoder} | {' | '.join(cells)} | {' / '.join(spread)} |")
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
    latest = {(r["what"], r["data"]): r for r in rows("speed")}
    if not latest:
        return ""
    lines = ["### Speed\n\nBoth sides in turn in one process; medians. `python benchmarks/speed.py`, "
             f"{next(iter(latest.values()))['hardware']}.\n",
             "| what | data | ours | the usual way | ratio | bar | commit |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {what} | {data} | {r['ours_s'] * 1e3:,.0f} ms | {r['theirs_s'] * 1e3:,.0f} ms | {r['ratio']:.3f} | "
              f"{r['bar']}{'' if r['met'] else ', missed'} | {r['commit']} |" for (what, data), r in latest.items()]
    lines += [f"\n{r['what']}: {r['median_s']:.2f} s (median of {r['runs']}, {where(r)})." for r in rows("rows")[-1:]]
    return "\n".join(lines)


def where(row: dict[str, Any]) -> str:
    """Seed, commit and hardware of a row."""
    seed = f"seed {row['seed']}, " if "seed" in row else ""
    return f"{seed}commit {row['commit']}, {row['hardware']}"


if __name__ == "__main__":
    main()

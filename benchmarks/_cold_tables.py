"""The cold-start and missing-modality results, as the README shows them."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from _cold import GROUPS, PLACE, SETS, interval, over_draws, place_of, table
from _rows import EARLIER, RESULTS, rows, where

from mmgraph.study import Average, averages, paired_interval, read, read_curves

NAME, MISSING = "cold_start", RESULTS / "missing"
RATES = (0.3, 0.5, 0.7, 0.9)


def cold() -> str:
    """All tables of `cold_start.py` that have something to show."""
    found = [strict(name) for name in SETS] + [mixed(), *(warm_up(name) for name in SETS), serving()]
    return "\n\n".join(filter(None, found))


def strict(name: str) -> str:
    """Methods on items that nobody took, over draws."""
    if not (lines := table(name)):
        return ""
    studies = [read(place) for group in GROUPS for draw in range(SETS[name].draws)
               if ((place := place_of(name, group, draw)) / "plan.json").exists()]
    done = [r for one in studies for r in one]
    places = sorted({f"commit {r.run['commit'] or 'unknown'}, {r.run['hardware']}" for r in done})
    draws = max(len(of) for of in over_draws(name).values())
    return (f"### Never-seen items of {name}\n\n80/10/10 of the items at random are warm, cold for validation, cold "
            f"for test; cold test items alone are ranked. {draws} of {SETS[name].draws} draws; every method "
            f"{SETS[name].trials} trials on cold validation items, ± is half of the 95 % t interval over draws, paired "
            f"with the cosine profile. `python benchmarks/cold_start.py {name}`, {'; '.join(places)}.\n\n{lines}")


def mixed() -> str:
    """Lists of all items, before and after calibration."""
    found = [r for r in rows(NAME) if r["what"] == "mixed" and not r["quick"]]
    if not found:
        return ""
    lines = ["### New items among all\n\nNDCG@20 of all items, share of new items in the lists against the true one, "
             "what trained items bring to it (relative to the best list of them alone); method and calibration chosen "
             "on validation (bound: how far the share may be from the true one there), test read once. "
             "`python benchmarks/cold_start.py --parts mixed`.\n",
             "| set, draw | method | calibration, bound | NDCG@20 without → with | new share without → with (true) | "
             "warm items in the lists | warm items alone |", "|---|---|---|---|---|---|---|"]
    for r in found:
        a, b = r["test"]["without"], r["test"]["with"]
        lines.append(f"| {r['set']}, {r['draw']} | {r['warm model']} with {r['method']} "
                     f"| {r['kind']}, {r.get('max_share_gap', 0.1)}{'' if 'split' in r else ' *'} "
                     f"| {a['all']:.4f} → {b['all']:.4f} ({b['all'] / a['all'] - 1:+.1%}) "
                     f"| {a['new_share']:.2f} → {b['new_share']:.2f} "
                     f"({b['true_share']:.2f}) | {a['warm_in_all']:.4f} → {b['warm_in_all']:.4f} | {b['warm']:.4f} |")
    if not all("split" in r for r in found):
        lines.append(f"\n{EARLIER.format(chr(92) + '*')} Validation had fewer warm interactions than test there.")
    return "\n".join(lines)


def warm_up(name: str) -> str:
    """Figures by number of revealed interactions, and the oracle ratio."""
    points = [p for p in read_curves(PLACE / name / "warm-up") if p.metric == "ndcg@20"]
    if not points:
        return ""
    lines = [f"### The first interactions of new items, {name}\n\nNDCG@20 among cold test items on one fixed half of "
             f"their interactions, k of the other half revealed; mean over draws. "
             f"`python benchmarks/cold_start.py {name} --parts warm-up`. "
             f"{EARLIER.format('Draw 0 of citeulike-t is')}\n"]
    lines += grid(averages(points), sorted({p.x for p in points}), "k = {:g}")
    oracle = next((p.method for p in points if p.method.startswith("oracle")), None)
    if oracle:
        ratios = [content.value / seen.value for content in points for seen in points
                  if (content.method, seen.method, content.x, seen.x, content.draw) == ("content", oracle, 0, 0,
                                                                                      seen.draw)]
        lines.append(f"\nOracle ratio, content alone at k = 0 over an oracle that was trained on the other half: "
                     f"{interval(ratios)}.")
    return "\n".join(lines)


def serving() -> str:
    """Seconds to add items."""
    found = [r for r in rows(NAME) if r["what"] == "serving" and not r["quick"]]
    if not found:
        return ""
    r = found[-1]
    lines = [f"| {label} | {of['seconds']:.2f} | {of['known scores are bit-identical']} | "
             f"{of['largest difference from having had them']:.1e} |" for label, of in r["found"].items()]
    return "\n".join(["### 10,000 items added to a trained recommender, MovieLens 1M\n\nSeconds until the first scores "
                      "(encoding excluded), whether the scores of known items stay bit for bit, and the largest "
                      "difference from having had them from the start. `python benchmarks/cold_start.py --parts "
                      f"serving`, {where(r)}.\n", "| model | seconds | known scores stay | difference |",
                      "|---|---|---|---|", *lines])


def leakage() -> str:
    """Which pairs of model and method were fitted with something changed that training must not see, and passed."""
    found = {(r["model"], r["method"]): r for r in rows("leakage")}  # the latest of each pair
    if not found:
        return ""
    fitted = [r for r in found.values() if "refused" not in r]
    failed, before = (
        [f"{r['model']} with {r['method']} ({'; '.join(f'{n}: {words}' for n, words in r['failed'].items())})"
         for r in some if r.get("failed")] for some in (fitted, [r for r in rows("leakage") if r not in fitted]))
    models, methods = (list(dict.fromkeys(pair[at] for pair in found)) for at in (0, 1))
    one = fitted[0]
    lines = [f"| {model} | " + " | ".join(_checked(found.get((model, method), {})) for method in methods) + " |"
             for model in models]
    commits = ", ".join(sorted({f"commit {r['commit']}, {r['hardware']}" for r in fitted}))
    n_checks = sorted({len(r["passed"]) for r in fitted})
    return "\n".join([
        f"### Leakage: every model with every cold-start method\n\n`check_leakage` on {one['users']} users and "
        f"{one['items']} films of MovieLens 100K, a fifth of them cold; two epochs, one seed. {len(fitted)} of "
        f"{len(found)} pairs were fitted, each more than a dozen times, and {len(fitted) - len(failed)} pass "
        f"all of their {n_checks[0]} to {n_checks[-1]} checks; the other {len(found) - len(fitted)} are refused with a "
        f"message, for the method reads vectors that the model does not have. "
        f"{'Failed: ' + '; '.join(failed) + '. ' if failed else ''}"
        f"{'At an earlier commit failed: ' + '; '.join(before) + '. ' if before else ''}"
        f"`python benchmarks/leakage.py`, {commits}.\n",
        "<details><summary>Pairs: checks passed, – for refused</summary>\n",
        "| | " + " | ".join(method or "alone" for method in methods) + " |", "|---" * (len(methods) + 1) + "|",
        *lines, "\n</details>"])


def _checked(row: Mapping[str, Any]) -> str:
    if "refused" in row or not row:
        return "–"
    return f"**{', '.join(row['failed'])}**" if row["failed"] else str(len(row["passed"]))


def missing() -> str:
    """NDCG@20 by rate and completion, and the paired difference from zero fill."""
    found = []
    for place in sorted(MISSING.iterdir()) if MISSING.is_dir() else []:
        points = [p for p in read_curves(place) if p.metric == "ndcg@20"]
        for curve in dict.fromkeys(p.curve for p in points if p.curve.startswith("missing rate")):
            of = [p for p in points if p.curve == curve]
            lines = grid(averages(of), sorted({p.x for p in of}), "{:g}")
            found.append(f"**{place.name}, {curve}**\n\n" + "\n".join(lines) + against_zero(of))
    return "" if not found else ("### Missing modalities\n\nNDCG@20 among cold test items by the share of pairs of "
                                 "item and modality that is gone; mean over draws. `python "
                                 f"benchmarks/missing_modality.py`. {EARLIER.format('Draw 0 of ml-100k is')}\n\n"
                                 + "\n\n".join(found))


def against_zero(points: Sequence[Any]) -> str:
    """The best completion at each rate, with its paired difference from doing nothing."""
    words = []
    for rate in RATES:
        here = [p for p in points if p.x == rate]
        rivals = {m for p in here if (m := p.method) not in ("zero", "SiBraR", "MILK", "FREEDOM")}
        gains = [gain for m in rivals for gain in paired_interval(here, m, "zero")]
        if gains:
            best = max(gains, key=lambda gain: gain.value)
            half = "" if best.low is None else f" ± {best.value - best.low:.4f}"
            words.append(f"{rate:g}: {best.method.partition(' − ')[0]} {best.value:+.4f}{half}")
    return f"\n\nBest completion against zero fill, by rate: {'; '.join(words)}." if words else ""


def grid(means: Sequence[Average], places: Sequence[float], head: str) -> list[str]:
    """Methods by places."""
    lines = [f"| | {' | '.join(head.format(x) for x in places)} |", f"|---|{'---|' * len(places)}"]
    by_method: dict[str, Mapping[float, float]] = {}
    for m in means:
        by_method[m.method] = {**by_method.get(m.method, {}), m.x: m.value}
    for method, values in by_method.items():
        cells = (f"{values[x]:.4f}" if x in values else "–" for x in places)
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


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

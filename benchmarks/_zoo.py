"""The zoo in the README: each model's figures in the list of models, and the tables of its studies."""

import re
from collections.abc import Mapping, Sequence
from statistics import mean

from _rows import EARLIER, RESULTS, rows

from mmgraph.study import Result, read
from mmgraph.study.grouping import lines as lines_of
from mmgraph.study.summary import run_means

PLACE = RESULTS / "zoo"
LISTED = ("tiktok", "ml-100k")  # the columns of the list of models
STALE = {("ml-100k-must", "BM3"): "The rows of BM3 in ml-100k-must are from before its penalty was mended (see the "
                                  "changelog) and not to be cited; those of ml-100k-must-BM3 are right."}
LINE = re.compile(r"^(\| `(\w+)` \|.*?)(?: \| [^|]*){2} \|$", re.MULTILINE)  # one cell per column


def zoo() -> str:
    """The table of each study, as `zoo.py` left it."""
    found = []
    for place in sorted(PLACE.iterdir()) if PLACE.is_dir() else ():
        if (place / "table.md").exists():
            results = read(place)
            commits = sorted({str(r.run["commit"]) for r in results})
            words = (place / "table.md").read_text(encoding="utf-8").partition("\n")[2].strip()
            about = f"{told(results)}; commit {', '.join(commits)}."
            found.append(f"<details><summary>{place.name}</summary>\n\n{about}\n\n{words}\n\n</details>")
    head = ("### The zoo: warm and never-seen items\n\n`python benchmarks/zoo.py`: 20 % of the items unseen in "
            "training; the same budget for every model, settings and epochs chosen on validation, test read once; with "
            "permuted features and noise as controls." + "".join(f" {words}" for words in STALE.values())
            + f" {EARLIER.format('What begins with ml-100k-must is')}")
    return "\n\n".join([head, *found]) if found else ""


def told(results: Sequence[Result]) -> str:
    """Budget and seeds of a study."""
    searched = [r for r in results if r.search]
    seeds = sorted({r.seed for r in searched})
    return (f"{searched[0].search['budget']} trials per model, {len(seeds)} seeds (closed forms: one), "
            f"{results[0].n_candidates.get('cold', 0):,} never-seen items")


def filled(text: str) -> str:
    """The README with the figures of every model that a study has measured: warm / cold Recall@20."""
    figures = {name: measured(name) for name in LISTED}

    def line(found: re.Match[str]) -> str:
        return f"{found[1]} | {' | '.join(figures[name].get(found[2], '–') for name in LISTED)} |"

    before, mark, after = text.partition("\n## Models\n")
    listed, end, rest = after.partition("\n## ")
    return before + mark + LINE.sub(line, listed) + end + rest


def measured(name: str) -> Mapping[str, str]:
    """Class of a model → its figures on a data set; of several studies the first in the alphabet."""
    out: dict[str, str] = {}
    for place in sorted(PLACE.glob(f"{name}-*")) if PLACE.is_dir() else ():
        for runs in lines_of(read(place)).values():
            row = runs[0]
            stale = (place.name, row.cls) in STALE
            if row.competitor and not stale and all(on in row.metrics for on in ("warm", "cold")):
                out.setdefault(row.cls.rpartition(".")[2], " / ".join(
                    f"{mean(run_means(runs, on, 'recall@20')):.3f}" for on in ("warm", "cold")))
    return out


def gowalla() -> str:
    """The spectral closed forms with the papers' settings, beside the papers' figures."""
    latest = {r["model"]: r for r in rows("gowalla")}
    if not latest:
        return ""
    lines = ["### Gowalla, the published split, the papers' settings\n\n`python benchmarks/gowalla.py`; no validation "
             "part exists, nothing was chosen.\n", "| model | recall@20 | printed | ndcg@20 | printed | solve, s | "
             "score and rank, s | commit, hardware |", "|---|---|---|---|---|---|---|---|"]
    for name, r in latest.items():
        cells = [f"{r['metrics'][m]:.4f} | {format(r['published'][m], '.4f') if m in r['published'] else '–'}"
                 for m in ("recall@20", "ndcg@20")]
        lines.append(f"| {name} | {' | '.join(cells)} | {r['solve_s']:.0f} | {r['score_and_rank_s']:.0f} | "
                     f"{r['commit']}, {r['hardware']} |")
    return "\n".join(lines)


def blends() -> str:
    """Decision-level fusions beside their members, per data set the latest full run."""
    found = [r for r in rows("blend") if not r["quick"]]
    out = []
    for data in dict.fromkeys(r["data"] for r in found):
        mine = [r for r in found if r["data"] == data]
        mine = [r for r in mine if r["date"] == max(r["date"] for r in mine)]
        answer, = (r for r in mine if r["what"] == "answer")
        lines = [f"**{data}**, {answer['protocol']}, {answer['users']:,} users; commit {answer['commit']}, "
                 f"{answer['hardware']}.\n", "| | validation | on held-out users | test | test ndcg@20 |",
                 "|---|---|---|---|---|"]
        for r in mine[:-1]:
            name = r["model"] if r["what"] == "member" else f"*{r['kind']}*"
            held = f"{r['held_out']:.4f}" if "held_out" in r else "–"
            lines.append(f"| {name} | {r['valid']:.4f} | {held} | {r['test']['recall@20']:.4f} | "
                         f"{r['test']['ndcg@20']:.4f} |")
        lines.append(f"\nChosen: *{answer['kind']}* (held-out users), against {answer['member']}, the best member on "
                     f"validation: {answer['difference']:+.4f} on test, 95 % interval {answer['low']:+.4f} to "
                     f"{answer['high']:+.4f}, p = {answer['p']:.3f}.")
        out.append("\n".join(lines))
    head = ("### Decision-level fusion\n\n`python benchmarks/blend.py`: Recall@20; members with settings given "
            "beforehand, weights chosen on validation, the kind on held-out users, test read once.")
    return "\n\n".join([head, *out]) if out else ""

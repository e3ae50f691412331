"""What a reader of results wants to know before trusting them, checked on the rows themselves."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mmgraph.study.pages.views import by_label, by_world, label, searches
from mmgraph.study.result import FIRST, Result, digest


@dataclass(frozen=True)
class Check:
    """One statement about how the results came about.

    Args:
        good: whether all is as it should be.
        text: what was found.
    """

    good: bool
    text: str


def checks(results: Sequence[Result]) -> list[Check]:
    """Reading of the test part, choice of the settings, runs, marks and the hash chain."""
    return [read_once(results), *chosen(results), runs(results), marked(results), chain(results)]


def read_once(results: Sequence[Result]) -> Check:
    """Whether no row is a second reading of its part."""
    parts = " and ".join(dict.fromkeys(r.part for r in results))
    again = [f"{label(r)} seed {r.seed} (reading {r.reading})" for r in results if r.reading > 1]
    if again:
        return Check(False, f"The {parts} part was read more than once by {', '.join(again)}: what was seen the first "
                            f"time may have shaped what was done next.")
    return Check(True, f"Each model with each seed read the {parts} part once, after all choices had been made.")


def chosen(results: Sequence[Result]) -> list[Check]:
    """How settings were found, and whether every search had the same budget; nothing where none was searched."""
    found = []
    for name, rows in by_world(results).items():
        ways = Counter(plan(s) for s in searches(rows).values())
        where = f" ({name})" if len(by_world(results)) > 1 else ""
        if len(ways) == 1:
            found.append(Check(True, f"Settings were chosen on the validation part alone, with the same budget for "
                                     f"every tuned model: {next(iter(ways))}{where}."))
        elif ways:
            each = "; ".join(f"{way}: {', '.join(n for n, s in searches(rows).items() if plan(s) == way)}"
                             for way in ways)
            found.append(Check(False, f"Models were not tuned alike{where}: {each}."))
    return found


def plan(search: Mapping[str, object]) -> str:
    """Budget, sampler and monitor of a search in words."""
    words = {name: value if isinstance(value := search.get(name), str) else json.dumps(value)
             for name in ("sampler", "budget", "monitor")}
    trials = "trials" if isinstance(search.get("budget"), int) else ""
    return f"{words['budget']} {trials} by {words['sampler']} search, judged by {words['monitor']}".replace("  ", " ")


def runs(results: Sequence[Result]) -> Check:
    """Whether all competitors of each data set ran equally often."""
    uneven, counts = [], set()
    for rows in by_world(results).values():
        each = {name: len(given) for name, given in by_label([r for r in rows if r.competitor]).items()}
        counts |= set(each.values())
        if len(set(each.values())) > 1:
            uneven += [f"{name} {n}" for name, n in each.items() if n < max(each.values())]
    if uneven:
        return Check(False, f"Not every model ran equally often; fewer runs than the others: {', '.join(uneven)}.")
    seeds = len({r.seed for r in results})
    return Check(True, f"Every competitor ran {' or '.join(map(str, sorted(counts)))} "
                       f"time{'s' if counts != {1} else ''} ({seeds} seed{'s' if seeds != 1 else ''}).")


def marked(results: Sequence[Result]) -> Check:
    """How many rows carry a warning."""
    n = sum(bool(r.marks) for r in results)
    return Check(not n, f"{n} of {len(results)} rows carry a warning, see the tables." if n else
                 "No row carries a warning.")


def chain(results: Sequence[Result]) -> Check:
    """Whether each row is as it was written, and follows the one before it."""
    changed = [n for n, r in enumerate(results, start=1) if not intact(r)]
    if changed:
        return Check(False, f"The hash of row {', '.join(map(str, changed))} does not fit what the row says: it was "
                            f"changed after it was written.")
    before = [FIRST, *(r.hash for r in results)]
    gaps = [n for n, r in enumerate(results, start=1) if r.previous != before[n - 1]]
    if gaps:
        return Check(False, f"Each row is as it was written, but rows are missing before row "
                            f"{', '.join(map(str, gaps))}: the chain of hashes has gaps.")
    return Check(True, f"The chain of hashes holds: none of the {len(results)} rows was changed, removed, added or "
                       f"moved after it was written.")


def intact(result: Result) -> bool:
    """Whether a row's hash follows from its content."""
    return result.hash == digest(asdict(result))

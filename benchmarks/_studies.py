"""The studies that a YAML file plans, as the README shows them."""

from pathlib import Path

from _rows import RESULTS

from mmgraph.study import read

PLACE = RESULTS / "studies"


def studies() -> str:
    """The table of each study in ``results/studies``, as ``mmgraph report`` wrote it, and where its rows come from."""
    return "\n\n".join(told(place) for place in sorted(PLACE.iterdir()) if (place / "table.md").exists()) \
        if PLACE.is_dir() else ""


def told(place: Path) -> str:
    """One study; its rows are checked while they are read."""
    results = read(place)
    commits, machines = (sorted({r.run[name] or "unknown" for r in results}) for name in ("commit", "hardware"))
    tried = sum(len(found) for found in {r.model: r.search["trials"] for r in results if r.search}.values())
    seconds = sum(r.run["seconds"]["fit"] + r.run["seconds"]["read"] for r in results if "fit" in r.run["seconds"]) \
        + sum({r.model: r.run["seconds"]["search"] for r in results if r.search}.values())
    n = sum(1 for r in results if r.search)
    return (f"### The study `benchmarks/{place.name}.yaml`\n\n{tried} trials and {n} final trainings, "
            f"{seconds / 60:.0f} minutes of trainings in all; commit {', '.join(commits)}, {'; '.join(machines)}.\n\n"
            + (place / "table.md").read_text(encoding="utf-8").strip())

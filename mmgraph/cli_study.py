"""Studies on the command line: carry one out, report on it, audit a split."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from mmgraph.data import Given, load
from mmgraph.data.split import SplitRule
from mmgraph.features import load as load_features
from mmgraph.study.diagnosis.audit import write_audit
from mmgraph.study.diagnosis.diagnostics import diagnose
from mmgraph.study.log_services import MLflowLogger, TensorBoardLogger, WandbLogger
from mmgraph.study.loggers import CSVLogger, Logger
from mmgraph.study.outcome import narrow
from mmgraph.study.outcome import report as report_on
from mmgraph.study.plan_file import read_study
from mmgraph.study.summary import Summary
from mmgraph.study.tables import rich_table

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")


def study(plan: str, out: str | None = None, root: str | None = None, jobs: int | None = None,
          threads: int | None = None, logs: Sequence[str] = ()) -> None:
    """Carry out the study that a YAML file plans; stop it at any moment, the same call goes on. Ends with the report.

    Args:
        plan: the YAML file.
        out: folder for the results; by default the name of the file, here.
        root: folder of the data set, instead of the file's.
        jobs: trainings side by side, instead of the file's.
        threads: of each training, instead of the file's.
        logs: where the course of the final trainings goes: csv, tensorboard, wandb, mlflow.
    """
    changes = {name: value for name, value in (("jobs", jobs), ("threads", threads)) if value is not None}
    place = Path(out or Path(plan).stem)
    read_study(plan, root=root, **changes).run(place, loggers=[logger(name, place) for name in logs])
    tell(report_on(place), place)


def report(folder: str) -> None:
    """Turn the results in a folder into a page, pictures, a table for a README and one in LaTeX.

    Args:
        folder: that a study left.
    """
    tell(report_on(folder), Path(folder))


def audit(data: str, root: str, out: str = "audit.html", features: str | None = None, seed: int = 0, *,
          split: SplitRule | None = None) -> None:
    """Look for what is wrong with a split: duplicates, leaks, skewed parts, time travel; print it and write a page.

    Args:
        data: name of the data set, e.g. amazon-baby.
        root: folder that holds its files.
        out: the page.
        features: folder that ``mmgraph encode`` left, to look for near-duplicate items too.
        seed: of the split.
        split: the protocol.
    """
    parts = load(data, root).split(split or Given(), seed=seed)
    found = diagnose(parts, None if features is None else load_features(features))
    write_audit({data: found}, out)
    print(found)
    print(f"{out}: the page to look at.")


def logger(name: str, folder: Path) -> Logger:
    """A logger by its name; its files lie beside the results."""
    if name not in LOGGERS:
        raise ValueError(f"no logger is called {name!r}; there are {', '.join(LOGGERS)}.")
    if name == "csv":
        return CSVLogger(folder / "logs")
    if name == "tensorboard":
        return TensorBoardLogger(folder / "tensorboard")
    if name == "wandb":
        return WandbLogger(folder.name)
    return MLflowLogger(f"sqlite:///{folder.resolve()}/mlflow.db", folder.name)


def tell(summaries: Sequence[Summary], folder: Path) -> None:
    """Print the tables and where the rest is."""
    console = Console()
    for summary in summaries:
        console.print(rich_table(narrow(summary, max(1, (console.width - 40) // 20))))
    print(f"{folder / 'report' / 'report.html'}: the page to look at; beside it table.md, table.tex and the pictures; "
          f"{folder / 'results.jsonl'}: every row.")

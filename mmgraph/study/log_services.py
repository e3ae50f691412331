"""Loggers that write for TensorBoard, Weights & Biases and MLflow."""

import importlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgraph.study.loggers import Values, escaped, flat, identity, measured, numbers, started

MOST_PARAMS = 100  # that MLflow takes at once
KEY = "mmgraph.identity"


class TensorBoardLogger:
    """A folder of events per run; settings and the numbers of the summary appear under HPARAMS.

    A run that goes on hides what was logged before from its first step on. The numbers of the summary are called
    ``summary/<name>``; its texts, and the names of files, are a text ``summary``.

    Args:
        folder: of all runs, for ``tensorboard --logdir``; names of runs are `escaped`.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self._package = _imported("torch.utils.tensorboard", "tensorboard")
        self.folder = Path(folder).expanduser()
        self._place: Path | None = None
        self._settings: Mapping[str, Any] = {}
        self._step = 0
        self._writer: Any = None

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        self._close()
        self._place, self._settings, self._step = self.folder / escaped(run), flat(settings), 0

    def log(self, values: Values, step: int) -> None:
        writer, self._step = self._open(step), step
        for name, value in measured(values).items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        writer, found = self._open(self._step), numbers(summary)
        told = [f"{name}: {value}" for name, value in flat(summary).items() if name not in found]
        if told := [*told, *(str(file) for file in files)]:
            writer.add_text("summary", "\n\n".join(told), self._step)
        writer.add_hparams(self._settings, {f"summary/{name}": value for name, value in found.items()}, run_name=".",
                           global_step=self._step)
        self._close()

    def _open(self, step: int) -> Any:
        """The writer, opened at the first step, which only now says what it hides of an earlier part."""
        place = started(self._place)
        if self._writer is None:
            self._writer = self._package.SummaryWriter(place, purge_step=step)
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._place = self._writer = None


class WandbLogger:
    """A run of Weights & Biases; whether it is sent, and where to, the environment says (``WANDB_MODE`` and so on).

    The x-axis is the value ``step``; of a step that is logged again, as by a run that goes on, both stay. What came
    out is called ``summary/<name>``.

    Args:
        project: name of the project.
        folder: where wandb keeps its files; by default where wandb chooses.
    """

    def __init__(self, project: str, *, folder: str | os.PathLike[str] | None = None):
        self._package = _imported("wandb", "wandb")
        self.project, self.folder = project, None if folder is None else Path(folder).expanduser()
        self._run: Any = None

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        self._close()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._run = self._package.init(project=self.project, name=run, id=identity(run, settings), resume="allow",
                                       dir=self.folder and str(self.folder), config=flat(settings), reinit="create_new")
        self._run.define_metric("*", step_metric="step")

    def log(self, values: Values, step: int) -> None:
        started(self._run).log({**measured(values), "step": step})

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        run = started(self._run)
        run.summary.update({f"summary/{name}": value for name, value in flat(summary).items()})
        for file in files:
            run.save(str(file), base_path=str(Path(file).parent), policy="now")
        self._close()

    def _close(self) -> None:
        if self._run is not None:
            self._run.finish()
        self._run = None


class MLflowLogger:
    """A run of MLflow, on a server or in a database.

    A run that goes on is found again by name and settings; of a step that is logged again both values stay. Names of
    values and settings are `escaped` (``recall@20`` is ``recall-40-20``); what came out is called ``summary/<name>``,
    a metric if it is a number, else a tag.

    Args:
        tracking_uri: ``http://…`` or ``sqlite:///…``.
        experiment: name of the experiment, made if there is none.
    """

    def __init__(self, tracking_uri: str, experiment: str):
        self._package = _imported("mlflow", "mlflow")
        self.tracking_uri, self.experiment = tracking_uri, experiment
        self._client: Any = None
        self._run: str | None = None

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        self._client = self._client or self._package.MlflowClient(self.tracking_uri)
        found = self._client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else self._client.create_experiment(self.experiment)
        key = identity(run, settings)
        known = self._client.search_runs([place], f"tags.`{KEY}` = '{key}'", max_results=1)
        one = known[0] if known else self._client.create_run(place, run_name=run, tags={KEY: key})
        self._run = one.info.run_id
        self._client.update_run(self._run, status="RUNNING")
        params = [self._package.entities.Param(escaped(name), str(value)) for name, value in flat(settings).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first:first + MOST_PARAMS])

    def log(self, values: Values, step: int) -> None:
        self._metrics({escaped(name): value for name, value in measured(values).items()}, step)

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        run, found = started(self._run), numbers(summary)
        self._metrics({f"summary/{escaped(name)}": value for name, value in found.items()}, 0)
        for name, value in flat(summary).items():
            if name not in found:
                self._client.set_tag(run, f"summary/{escaped(name)}", value)
        for file in files:
            self._client.log_artifact(run, str(file))
        self._client.set_terminated(run)
        self._run = None

    def _metrics(self, values: Mapping[str, int | float], step: int) -> None:
        now, entity = int(time.time() * 1000), self._package.entities.Metric
        self._client.log_batch(started(self._run), [entity(name, value, now, step) for name, value in values.items()])


def _imported(package: str, extra: str) -> Any:
    """A package that not everybody has."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f'this logger needs {extra}: pip install "mmgraph[{extra}]"') from error

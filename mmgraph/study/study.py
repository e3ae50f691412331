"""The honest experiment: every model gets the same budget on validation, and test is read once, at the end."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from mmgraph.eval.evaluate import Candidates, Seen, check_choices
from mmgraph.eval.shapley import MOST
from mmgraph.features.features import Features
from mmgraph.models import EASE, Model, Popularity, RecentPopularity, RP3beta, Scorer
from mmgraph.study.compare import check_reading
from mmgraph.study.fit import default_monitor
from mmgraph.study.ledger import short
from mmgraph.study.loggers import Guarded, Logger
from mmgraph.study.provenance import fingerprints
from mmgraph.study.result import Result
from mmgraph.study.space import TUNABLE, Candidate, plain
from mmgraph.study.turns import Turn, single

Sampler = Literal["random", "tpe", "grid"]
Control = Literal["permuted", "noise"]
BASELINES: dict[str, Candidate] = {
    "Popularity": Candidate(Popularity),
    "RecentPopularity": Candidate(RecentPopularity, space={"half_life": {"low": 1.0, "high": 1000.0, "log": True}}),
    "EASE": Candidate(EASE, space={"l2": {"low": 1.0, "high": 10000.0, "log": True}}),
    "RP3beta": Candidate(RP3beta, space={"alpha": {"low": 0.1, "high": 1.5}, "beta": {"low": 0.0, "high": 0.8},
                                         "k": [20, 50, 100, 200, 500, 1000]}),
}


@dataclass(frozen=True)
class Outside:
    """A scorer that no study fitted, measured beside the models; it cannot win.

    Args:
        scorer: scores of all users and items, in the numbering of the split.
        trained_on: the parts that it has seen.
    """

    scorer: Scorer
    trained_on: tuple[str, ...] = ("train",)


@dataclass(frozen=True)
class Study:
    """Data × models × search spaces × budget × seeds; `run` does it, and goes on where it was stopped.

    Settings are searched on validation alone: the search gets splits whose test interactions were taken out. Then every
    model is trained once per seed with the settings that won, and its test part is read, once, which is recorded.

    Args:
        name: for people.
        data: name of the data set, for tables.
        turns: a locked `Split`, or what `cross_validation` or `nested_validation` made.
        models: label → what takes part.
        features: content of the items; none for ids only.
        trials: settings tried per model, the same for all; a smaller space is tried whole.
        seeds: of the final trainings; a closed form has nothing random and takes the first alone.
        sampler: ``random``, ``tpe``, or ``grid`` (all combinations, at most ``trials``).
        search_seed: of the search: of what it proposes, and of the models it tries.
        prune: stop a trial whose validation score lies below the median of the others at the same epoch.
        monitor: metric@k that chooses settings and epochs.
        monitor_on: candidate sets over which it is averaged, see `default_monitor`.
        ks: list lengths of the final figures.
        metrics: names of the final figures, see `evaluate`.
        seen: what is left out of the lists, see `evaluate`.
        categories: column of item attributes for calibration, see `mmgraph.eval.beyond`.
        user_attributes: columns of user attributes by which figures are broken down.
        options: of `fit`, for all models.
        baselines: controls that take part with the same budget unless a model of their class does: names of
            `BASELINES`. Recent popularity falls away where the data have no times.
        content_controls: measure every model that reads content on permuted features and on noise too; or on those of
            both that are named.
        control_seeds: how many of ``seeds``, from the first on, the content controls are trained with; all by default.
        content_shares: measure what each modality is worth to it (Shapley values: 2^M readings for M modalities).
        retrain: train the final models on train + valid, for the number of epochs that validation chose; such figures
            do not compare with those of models that were trained on train alone, and are tabled apart.
        jobs: trainings side by side, each a process of its own.
        threads: of each training; all cores by default.
        device: where to train and score.
        card: hash of the data set's card, if it has one.

    Raises:
        KeyError: for an unknown metric, baseline or option.
        PermissionError: if a split was unlocked before.
        ValueError: for a plan that cannot be carried out.
    """

    name: str
    data: str
    turns: Sequence[Turn]
    models: Mapping[str, Candidate]
    features: Features | None = None
    trials: int = 20
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    sampler: Sampler = "random"
    search_seed: int = 0
    prune: bool = False
    monitor: str = "recall@20"
    monitor_on: Sequence[Candidates] | None = None
    ks: Sequence[int] = (10, 20)
    metrics: Sequence[str] = ("recall", "ndcg", "precision", "hit_rate", "mrr", "map")
    seen: Seen = "known"
    categories: str | None = None
    user_attributes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    baselines: Sequence[str] = tuple(BASELINES)
    content_controls: bool | Sequence[Control] = True
    control_seeds: int | None = None
    content_shares: bool = True
    retrain: bool = False
    jobs: int = 1
    threads: int | None = None
    device: str = "cpu"
    card: str | None = None

    @classmethod
    def of(cls, split: Any, models: Mapping[str, type[Model] | Candidate], *, name: str = "study", data: str = "data",
           **more: Any) -> "Study":
        """A study of one split; a bare class takes part with its defaults."""
        taking_part = {label: m if isinstance(m, Candidate) else Candidate(m) for label, m in models.items()}
        return cls(name, data, single(split), taking_part, **more)

    def __post_init__(self) -> None:
        if not self.models or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a study needs a model and distinct seeds; got models {list(self.models)}, seeds "
                             f"{list(self.seeds)}.")
        counts = [self.trials, self.jobs, *(n for n in (self.threads, self.control_seeds) if n is not None)]
        if min(counts) < 1 or self.sampler not in get_args(Sampler):
            raise ValueError(f"trials, jobs, threads and control_seeds are 1 or more and sampler one of "
                             f"{get_args(Sampler)}; got {counts}, {self.sampler!r}.")
        if unknown := sorted(set(self.controls) - set(get_args(Control))):
            raise KeyError(f"no content control {unknown}; there are {list(get_args(Control))}.")
        if unknown := sorted(set(self.baselines) - set(BASELINES)):
            raise KeyError(f"no baseline {unknown}; there are {list(BASELINES)}.")
        if unknown := sorted(set(self.options) - TUNABLE):
            raise KeyError(f"no option {unknown} for all models; there are {sorted(TUNABLE)}. Hyper-parameters belong "
                           f"to their model.")
        if self.prune and any(len(turn.inner) > 1 for turn in self.turns):
            raise ValueError("pruning compares learning curves on one validation part, and this study has several "
                             "inner splits; leave prune off.")
        for turn in self.turns if not self.turns[0].split.blind else ():
            check_reading(turn.split, "test", self.ks, self.metrics, {})
        self.check_words()
        for label, candidate in self.candidates.items():
            if self.sampler == "grid" and (n := len(list(candidate.grid()))) > self.trials:
                raise ValueError(f"the grid of {label} has {n} combinations, the budget is {self.trials} trials; the "
                                 f"budget is the same for every model: raise it, or shorten the lists.")

    def check_words(self) -> None:
        """Refuse what would fail only after the search."""
        check_choices(seen=self.seen, only=self.monitor_on or ("all",), metrics=[self.monitor.partition("@")[0]])
        data = self.turns[0].split.data
        for name, table in ((self.categories, data.item_content), *((n, data.user_content)
                                                                    for n in self.user_attributes)):
            if name is not None and name not in table.column_names:
                raise KeyError(f"no column {name!r} to break figures down by, only {table.column_names}.")
        if self.features is not None and len(self.features.dims) > MOST:
            raise ValueError(f"exact Shapley values take at most {MOST} modalities, the features have "
                             f"{sorted(self.features.dims)}; keep some with features.only(...).")

    @cached_property
    def candidates(self) -> dict[str, Candidate]:
        """The models and the baselines that join them."""
        there = {candidate.cls for candidate in self.models.values() if candidate.method is None}
        timed = "time" in self.turns[0].split.data.interactions.column_names
        joining = {name: BASELINES[name] for name in self.baselines if BASELINES[name].cls not in there
                   and name not in self.models and (timed or not BASELINES[name].cls.reads_times)}
        return {**self.models, **joining}

    @property
    def controls(self) -> tuple[str, ...]:
        """The damaged contents on which models that read content are measured too."""
        if isinstance(self.content_controls, bool):
            return get_args(Control) if self.content_controls else ()
        return tuple(self.content_controls)

    def kind(self, label: str) -> str:
        """``model`` or ``baseline``."""
        return "model" if label in self.models else "baseline"

    def seeds_of(self, label: str) -> Sequence[int]:
        """The seeds that a model is trained with."""
        return self.seeds if self.candidates[label].random else self.seeds[:1]

    def settings(self, label: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of `fit` for a model: what all share, what it fixes, what was found."""
        return {**self.options, **self.candidates[label].fixed, **found}

    @cached_property
    def watched(self) -> tuple[Candidates, ...]:
        """The candidate sets of the monitor."""
        return tuple(self.monitor_on or default_monitor(self.turns[0].inner[0]))

    def watched_by(self, label: str) -> tuple[Candidates, ...]:
        """The candidate sets that choose the epoch of a model: of warm items alone if a cold-start method joins it."""
        return ("warm",) if self.candidates[label].method is not None else self.watched

    @cached_property
    def contents(self) -> dict[str, str] | None:
        """Modality → fingerprint of the features, by id."""
        return None if self.features is None else fingerprints(self.features, self.turns[0].split)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Hash of each column that models, groups or calibration read besides who took what."""
        data = self.turns[0].split.data
        named = {self.categories, *self.user_attributes, *(a for label in self.candidates
                                                           for a in self.settings(label, {}).get("attributes", ()))}
        tables = {"interactions": (data.interactions, {"time", "weight"}), "items": (data.item_content, named),
                  "users": (data.user_content, named)}
        return {f"{of}.{name}": short(table[name].to_pylist()) for of, (table, wanted) in tables.items()
                for name in table.column_names if name in wanted}

    @cached_property
    def plan(self) -> dict[str, Any]:
        """All that determines the outcome, as JSON; a folder of results belongs to one plan."""
        splits = [{"test": turn.split.fingerprint, "inner": [i.fingerprint for i in turn.inner]} for turn in self.turns]
        names = ("name", "data", "trials", "seeds", "sampler", "search_seed", "prune", "monitor", "ks", "metrics",
                 "seen", "categories", "user_attributes", "options", "content_controls", "retrain", "device", "card")
        learns = self.sampler == "tpe" or self.prune  # from earlier trials, but not from those that run beside it
        batch = {"jobs": self.jobs} if learns else {}
        fewer = {**({} if self.content_shares else {"content_shares": False}),
                 **({} if self.control_seeds is None else {"control_seeds": self.control_seeds})}
        return {**{name: plain(getattr(self, name)) for name in names}, **batch, "monitor_on": list(self.watched),
                "data_fingerprint": self.turns[0].split.data.fingerprint, "columns": self.columns, "splits": splits,
                "features": self.contents, **fewer,
                "models": {label: c.plain() for label, c in self.candidates.items()}}

    @property
    def plan_hash(self) -> str:
        """Hash of the plan."""
        return short(self.plan)

    def blinded(self) -> "Study":
        """The same study without any test interaction."""
        return replace(self, turns=tuple(turn.blinded() for turn in self.turns))

    def run(self, folder: str | os.PathLike[str], *, references: Mapping[str, Outside] | None = None,
            loggers: Sequence[Logger] = (), progress: bool = True) -> list[Result]:
        """Do what is left to do, and return all results; see `mmgraph.study.run.run`."""
        from mmgraph.study.run import run

        logger = Guarded(loggers) if loggers else None
        return run(self, Path(folder).expanduser().resolve(), references or {}, progress, logger)

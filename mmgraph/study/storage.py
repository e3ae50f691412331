"""Trials of a search, kept by Optuna in a database file; only finished ones, so that a killed search loses no order."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.study.ledger import short

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

FILE = "trials.db"
REDRAWS = 20  # of settings that were tried before


def optuna() -> Any:
    """The package, or an error that names the extra."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError('a search needs Optuna: pip install "mmgraph[study]"') from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def open_trials(folder: Path, name: str) -> "OptunaStudy":
    """The finished trials of one search; ``optuna-dashboard sqlite:///…/trials.db`` shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna().storages.RDBStorage(f"sqlite:///{(folder / FILE).resolve()}")
    return optuna().create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def proposals(finished: "list[FrozenTrial]", distributions: "dict[str, BaseDistribution]", sampler: str, seed: str,
              n: int) -> list[dict[str, Any]]:
    """Settings of the next n trials, none of them tried before where there is a choice.

    They depend on the finished ones and the seed alone, so a search that was killed goes on as if it had not been; by
    random search not even on how many run side by side.

    Args:
        finished: trials that ended, in order.
        distributions: the space.
        sampler: ``random`` or ``tpe``.
        seed: words that no other search shares.
        n: how many.
    """
    memory = optuna().create_study(direction="maximize")
    memory.add_trials(finished)
    tried, new = [dict(trial.params) for trial in finished], []
    for number in range(len(finished), len(finished) + n):
        for again in range(REDRAWS):
            memory.sampler = sampler_of(sampler, int(short([seed, number, again])[:8], 16))
            settings = dict(memory.ask(distributions).params)
            if settings not in tried:
                break
        tried.append(settings)
        new.append(settings)
    return new


def sampler_of(name: str, seed: int) -> "BaseSampler":
    """Random, or the tree-structured Parzen estimator (Bergstra et al., NIPS 2011)."""
    samplers = optuna().samplers
    return samplers.RandomSampler(seed=seed) if name == "random" else samplers.TPESampler(seed=seed)


def finished_trial(settings: dict[str, Any], distributions: "dict[str, BaseDistribution]", state: str,
                   valid: float | None, curve: dict[int, float], about: dict[str, Any]) -> "FrozenTrial":
    """A trial as Optuna keeps it; a failed one has no value."""
    states = optuna().trial.TrialState
    kind = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[state]
    return optuna().trial.create_trial(state=kind, value=valid if state == "complete" else None, params=settings,
                                       distributions=distributions, intermediate_values=curve, user_attrs=about)


def prunes(earlier: list[dict[int, float]], curve: dict[int, float]) -> bool:
    """Optuna's median rule: whether a curve lies below the median of the earlier ones at the same epoch.

    Args:
        earlier: epoch → validation score of each completed trial, see `optuna.pruners.MedianPruner` (waits for five).
        curve: the same of the running trial, up to now.
    """
    o = optuna()
    memory = o.create_study(direction="maximize")
    running = o.trial.create_trial(state=o.trial.TrialState.RUNNING, intermediate_values=curve)
    memory.add_trials([o.trial.create_trial(value=max(c.values()), intermediate_values=c) for c in earlier if c])
    return bool(o.pruners.MedianPruner().prune(memory, running))

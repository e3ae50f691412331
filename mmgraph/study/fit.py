"""From a split and features to a model that has been selected on validation."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mmgraph.data.split import Split
from mmgraph.eval.evaluate import Candidates, candidate_sets, evaluate
from mmgraph.features.features import Features
from mmgraph.graph.ages import with_ages
from mmgraph.graph.attributes import with_attributes
from mmgraph.graph.graph import Graph, full_graph, train_graph
from mmgraph.graph.switches import switch_by_name
from mmgraph.models.base import ClosedForm, Model, Trained, check_hyperparameters
from mmgraph.models.cold_start import NEW_ITEMS, Calibration, ColdStart, Observed, WithColdStart, cold_started
from mmgraph.models.fitted import Fitted
from mmgraph.models.user_start import NEW_USERS, UserStart, apart, rejoined, user_started
from mmgraph.train.epochs import Thin
from mmgraph.train.robust import GroupRobust
from mmgraph.train.steps import Step
from mmgraph.train.train import train

log = logging.getLogger(__name__)


def fit(cls: type[Model], split: Split, features: Features | None = None, *, seed: int = 0,
        attributes: Sequence[str] = (), monitor: str = "recall@20", monitor_on: Sequence[Candidates] | None = None,
        max_epochs: int = 100, patience: int = 5, every: int = 1, lr: float = 1e-3, batch_size: int = 2048,
        step: Step = "plain", strength: float = 0.05, thin: Thin | Mapping[str, Any] | None = None,
        robust: GroupRobust | Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None, progress_bar: bool = True, device: str = "cpu",
        on_epoch: Callable[[Mapping[str, Any]], None] | None = None, cold: ColdStart | str | None = None,
        new_users: UserStart | str | None = None, **hyperparameters: Any) -> Fitted:
    """Fit a model on the warm users and items of a split and choose its epoch on validation.

    Training sees the training interactions, and the features of the warm items alone; cold items join for scoring.

    Args:
        cls: the model class.
        split: what to train and validate on; the test part is not touched. One that trains on validation too
            (`Split.joined`) leaves nothing to choose an epoch on: all ``max_epochs`` run and the last counts.
        features: content of the items, joined by id; none for models that need only ids.
        seed: of parameters and training.
        attributes: columns of item or user attributes that become nodes of the graph; a warning is logged if the model
            does not read them.
        monitor: metric@k that selects the epoch.
        monitor_on: candidate sets over which it is averaged, see `default_monitor`. With ``cold`` the model itself is
            trained for warm items, and they alone choose its epoch.
        max_epochs: at most this many epochs.
        patience: see `train`.
        every: see `train`.
        lr: see `train`.
        batch_size: see `train`.
        step: see `train`.
        strength: see `train`.
        thin: see `train`; a switch of `mmgraph.graph` also by its name, ``{"DropEdges": {"fraction": 0.2}}``.
        robust: see `train`, also by its fields, ``{"groups": 8}``; with a ``trend`` it reads the times of the training
            interactions.
        checkpoint: see `train`.
        progress_bar: show one.
        device: where to train and score.
        on_epoch: see `train`.
        cold: scores the items that were not trained on, in place of the model's own policy; it learns from the warm
            ones when the model is done. By name, its hyper-parameters come as ``**{"cold.l2": 3.0}``.
        new_users: scores the users who are new and took nothing, by the columns of their profile that ``attributes``
            names; it learns when the model is done, cold-start method included. By name, its hyper-parameters come as
            ``**{"new_users.l2": 3.0}``.
        hyperparameters: of the model, by name; of the methods behind ``cold.`` and ``new_users.``.

    Raises:
        TypeError: for a hyper-parameter that the model or a method does not have.
        ValueError: if validation is empty, or an argument is out of range.
    """
    start = time.perf_counter()
    robust = GroupRobust(**robust) if isinstance(robust, Mapping) else robust
    thin = switch_by_name(thin) if isinstance(thin, Mapping) else thin
    method = NEW_ITEMS.given(cold, NEW_ITEMS.own(hyperparameters))
    start_users = NEW_USERS.given(new_users, NEW_USERS.own(hyperparameters))
    hyperparameters = {name: value for name, value in hyperparameters.items()
                       if not NEW_ITEMS.owns(name) and not NEW_USERS.owns(name)}
    check_hyperparameters(cls, hyperparameters)
    if attributes and not cls.reads_attributes and start_users is None:
        log.warning("%s reads no attributes, so that %s change nothing; leave them out, or train GAT or HGT.",
                    cls.__name__, list(attributes))
    everything = (features or Features.empty(split.data.items)).aligned(split.data.items).to(device)
    trained_on = everything.rows(slice(0, split.n_warm_items))
    graph = _completed(train_graph(split), cls, split, attributes).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(graph.schema(trained_on), **hyperparameters).to(device)
    prepared = model.prepare(graph, trained_on)
    full = model.prepare(_completed(full_graph(split), cls, split, attributes).to(device), everything)
    history: Sequence[dict[str, Any]] = []
    if isinstance(model, ClosedForm):
        model.adopt(model.solve(prepared, trained_on))
    elif isinstance(model, Trained):
        on = tuple(monitor_on or default_monitor(split)) if method is None else ("warm",)
        validate = None if split.trains_on_valid else Validation(split, full, everything, monitor, on)
        about = {"split": split.fingerprint, "monitor": monitor, "monitor_on": list(on)}
        timed = with_ages(prepared, split) if robust is not None and robust.trend else prepared
        run = train(model, timed, trained_on, validate=validate, max_epochs=max_epochs, patience=patience,
                    every=every, lr=lr, batch_size=batch_size, seed=seed, step=step, strength=strength, thin=thin,
                    robust=robust, checkpoint=checkpoint, about=about, progress_bar=progress_bar, on_epoch=on_epoch)
        history = run.history
    if method is not None:
        observed = Observed(prepared, trained_on, model.scorer(prepared, trained_on))
        model = cold_started(model, observed, method, seed=seed)
    if start_users is not None:
        observed = Observed(prepared, trained_on, model.scorer(prepared, trained_on))
        model = user_started(model, observed, start_users, seed=seed)
    return Fitted(model, split.data.users, split.data.items, full, everything, history, time.perf_counter() - start)


def with_cold_start(fitted: Fitted, split: Split, method: ColdStart, *, seed: int = 0,
                    attributes: Sequence[str] = ()) -> Fitted:
    """A fitted model whose new items are scored by a cold-start method; the model is not fitted again.

    Args:
        fitted: by `fit`, on this split; a cold-start method that it has is replaced, a user-start method stays.
        split: what it was fitted on.
        method: learns here, in place.
        seed: of all that is random.
        attributes: as they were given to `fit`.
    """
    start, (model, of_users) = time.perf_counter(), apart(fitted.model)
    joined = cold_started(warm := _warm(model), _observed(fitted, warm, split, attributes), method, seed=seed)
    return replace(fitted, model=rejoined(joined, of_users), seconds=fitted.seconds + time.perf_counter() - start)


def with_user_start(fitted: Fitted, split: Split, method: UserStart, *, seed: int = 0,
                    attributes: Sequence[str] = ()) -> Fitted:
    """A fitted model whose users without history are scored by a user-start method; the model is not fitted again.

    Args:
        fitted: by `fit`, on this split; a user-start method that it has is replaced, a cold-start method stays.
        split: what it was fitted on.
        method: learns here, in place.
        seed: of all that is random.
        attributes: columns of user attributes that make the profiles, and all that were given to `fit`.

    Raises:
        ValueError: if some of those of `fit` are lacking, naming the columns.
    """
    start, (model, _) = time.perf_counter(), apart(fitted.model)
    _check_attributes(fitted.graph, type(_warm(model)), attributes)
    joined = user_started(model, _observed(fitted, model, split, attributes), method, seed=seed)
    more = [name for name in attributes if name not in fitted.graph.n_nodes]
    return replace(fitted, model=joined, graph=_with_attributes(fitted.graph, split, more),
                   seconds=fitted.seconds + time.perf_counter() - start)


def calibrated(fitted: Fitted, calibration: Calibration | None) -> Fitted:
    """A fitted model with a cold-start method whose scores of new items are put on another scale.

    Raises:
        TypeError: if it has no cold-start method.
    """
    model, of_users = apart(fitted.model)
    if not isinstance(model, WithColdStart):
        raise TypeError(f"{type(model).__name__} scores new items by itself; give it a cold-start method first: "
                        f"fit(..., cold=...), or with_cold_start(fitted, split, method).")
    joined = WithColdStart(model.warm, model.method, width=model.width, calibration=calibration)
    return replace(fitted, model=rejoined(joined, of_users))


@dataclass(frozen=True)
class Validation:
    """The score by which an epoch is selected.

    Args:
        split: holds the validation part.
        graph: prepared graph of all users and items.
        features: content of all items.
        monitor: metric@k.
        monitor_on: candidate sets over which it is averaged.
    """

    split: Split
    graph: Graph
    features: Features
    monitor: str
    monitor_on: tuple[Candidates, ...]

    def __call__(self, model: Model) -> float:
        """The metric of a model on validation."""
        metric, _, k = self.monitor.partition("@")
        if not k.isdigit() and self.monitor != "auc":
            raise ValueError(f"monitor must be 'auc', or a metric and a length such as 'recall@20', got "
                             f"{self.monitor!r}.")
        there = candidate_sets(self.split, "valid")
        on = ["all" if on == "warm" and on not in there else on for on in self.monitor_on]  # all items are warm
        found = evaluate(model.scorer(self.graph, self.features), self.split, ks=[int(k or 1)], metrics=[metric],
                         only=on)
        score = float(np.mean([found[name, self.monitor] if name in there else np.nan for name in on]))
        if np.isnan(score):
            raise ValueError(f"no user has a validation interaction with {' and '.join(self.monitor_on)} items, so no "
                             f"epoch can be selected; hold out more, or choose other sets in monitor_on.")
        return score


def default_monitor(split: Split) -> tuple[Candidates, ...]:
    """Warm and cold if at least 5 % of the validation interactions are with cold items, else all; cold if all are."""
    cold = split.cold_items[split.valid.items]
    if len(cold) == 0 or cold.mean() < 0.05:
        return ("all",)
    return ("cold",) if cold.all() else ("warm", "cold")


def _warm(model: Model) -> Model:
    """A model without its cold-start method."""
    return model.warm if isinstance(model, WithColdStart) else model


def _observed(fitted: Fitted, model: Model, split: Split, attributes: Sequence[str]) -> Observed:
    """What a method for new items or users learns from: what the model, or that inside it, was trained on."""
    features = fitted.features.rows(slice(0, split.n_warm_items))
    graph = _completed(train_graph(split), type(_warm(model)), split, attributes)
    graph = model.prepare(graph.to(fitted.graph.device), features)
    return Observed(graph, features, model.scorer(graph, features))


def _completed(graph: Graph, cls: type[Model], split: Split, attributes: Sequence[str]) -> Graph:
    """The graph with what comes from the data and not from `Model.prepare`: attributes, and ages if they are read."""
    graph = _with_attributes(graph, split, attributes)
    return with_ages(graph, split) if cls.reads_times else graph


def _check_attributes(graph: Graph, cls: type[Model], attributes: Sequence[str]) -> None:
    """Refuse fewer attributes than a model was fitted with."""
    there = {source for source, name, _ in graph.relations if name == f"{source}_of"}
    if lacking := sorted(there - set(attributes)):
        raise ValueError(f"attributes lack {lacking}, with which {cls.__name__} was fitted; pass {sorted(there)}.")


def _with_attributes(graph: Graph, split: Split, attributes: Sequence[str]) -> Graph:
    """Attribute nodes for the items and users of a graph; only the warm ones decide which values exist."""
    for of, content, n_known in (("item", split.data.item_content, split.n_warm_items),
                                 ("user", split.data.user_content, split.n_warm_users)):
        columns = [name for name in attributes if name in content.column_names]
        graph = with_attributes(graph, content.slice(0, graph.n_nodes[of]), columns, of=of, n_known=n_known)
    if missing := [name for name in attributes if name not in graph.n_nodes]:
        raise KeyError(f"no attribute {missing}; items have {split.data.item_content.column_names}, "
                       f"users {split.data.user_content.column_names}.")
    return graph

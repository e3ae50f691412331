"""What a search may vary: hyper-parameters of a model and options of its training, by name, from lists and ranges."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from mmgraph.graph.switches import SWITCHES, Switch, switch_by_name
from mmgraph.models.base import Model, Trained, check_hyperparameters, defaults
from mmgraph.models.cold_start import NEW_ITEMS, ColdStart
from mmgraph.models.method import Role, method_defaults
from mmgraph.models.user_start import NEW_USERS
from mmgraph.study.compare import OPTIONS, written
from mmgraph.train.robust import GroupRobust

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

GIVEN = frozenset({"cold", "new_users", "robust", "thin"})  # options that are fixed, not searched
TUNABLE = OPTIONS - GIVEN - {"checkpoint", "progress_bar", "on_epoch", "device", "monitor", "monitor_on"}
ROLES: tuple[Role[Any], ...] = (NEW_ITEMS, NEW_USERS)
RANGE = frozenset({"low", "high", "log", "step"})
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A model that takes part in a study.

    Args:
        cls: its class.
        fixed: settings that are given: hyper-parameters of the model and options of `fit`. A cold-start method is given
            here by name, as ``cold``; its hyper-parameters go by ``cold.`` and their name, here and in the space. One
            for new users likewise, as ``new_users``. Group-robust training by its fields: ``robust={"groups": 8}``; a
            switch of `mmgraph.graph` as it is or by its name: ``thin={"DropEdges": {"fraction": 0.2}}``.
        space: settings that are searched: name → a list of values, or a range ``{"low": …, "high": …}`` with
            ``"log": True`` for a logarithmic one or ``"step"``; whole numbers at both ends make a whole number.

    Raises:
        TypeError: for a name that neither the model nor `fit` has.
        ValueError: for a name that is fixed and searched, or a range that is none.
    """

    cls: type[Model]
    fixed: Settings = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {**self.fixed, **self.space}
        check_hyperparameters(self.cls, dict.fromkeys(
            n for n in names if n not in TUNABLE | GIVEN and not any(role.owns(n) for role in ROLES)))
        _check_training(self.fixed)
        for role in ROLES:
            if not isinstance(method := self.fixed.get(role.option), str | None):
                raise TypeError(f"the {role.what} is given by name here, so that it can be written down; got "
                                f"{method!r}.")
            role.check(method, role.own(names))
        if searched := sorted(GIVEN & set(self.space)):
            raise ValueError(f"{self.cls.__name__}: {searched[0]} is given in fixed and not searched; for a choice "
                             f"among several, let each take part under a label of its own.")
        if both := sorted(set(self.fixed) & set(self.space)):
            raise ValueError(f"{self.cls.__name__}: {', '.join(both)} is fixed and searched; leave it in one of both.")
        for name, values in self.space.items():
            check_values(f"{self.cls.__name__}.{name}", values)

    @property
    def method(self) -> type[ColdStart] | None:
        """The class of the cold-start method, if there is one."""
        return NEW_ITEMS.named(self.fixed["cold"]) if "cold" in self.fixed else None

    @property
    def reads_content(self) -> bool:
        """Whether its scores depend on what items contain, not counting a model's own policy for new items."""
        return self.cls.reads_content or self.method is not None

    @property
    def random(self) -> bool:
        """Whether what is fitted depends on the seed."""
        return issubclass(self.cls, Trained) or (self.method is not None and self.method.random)

    @property
    def name(self) -> str:
        """The class, and behind a plus the methods for new items and new users."""
        return "+".join([self.cls.__name__, *(self.fixed[r.option] for r in ROLES if r.option in self.fixed)])

    @property
    def distributions(self) -> "dict[str, BaseDistribution]":
        """The space in the terms of Optuna."""
        return {name: distribution(self, name, values) for name, values in self.space.items()}

    @property
    def size(self) -> int | None:
        """Number of different settings; none where a range has no end of them."""
        n = 1
        for one in self.distributions.values():
            if (values := values_of(one)) is None:
                return None
            n *= len(values)
        return n

    def grid(self) -> Iterator[dict[str, Any]]:
        """All settings of the space, the last name varying fastest.

        Raises:
            ValueError: if a range has no end of values.
        """
        listed = {name: values_of(one) for name, one in self.distributions.items()}
        if endless := [name for name, values in listed.items() if values is None]:
            raise ValueError(f"{self.cls.__name__}: a grid needs lists or steps, and {', '.join(endless)} is a range "
                             f"without; list its values, or search by 'random' or 'tpe'.")
        for values in product(*(values or () for values in listed.values())):
            yield dict(zip(listed, values, strict=True))

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"class": f"{self.cls.__module__}.{self.cls.__qualname__}", "fixed": plain(self.fixed),
                "space": plain(self.space)}


def _check_training(fixed: Settings) -> None:
    """Refuse at once what a training would refuse later, or what cannot be written down."""
    if isinstance(robust := fixed.get("robust"), Mapping):
        GroupRobust(**robust)
    if isinstance(thin := fixed.get("thin"), Mapping):
        switch_by_name(thin)
    elif not isinstance(thin, Switch | None):
        raise TypeError(f"thin is one of {', '.join(SWITCHES)} here, so that it can be written down; got {thin!r}.")


def distribution(candidate: Candidate, name: str, values: Any) -> "BaseDistribution":
    """One entry of a space in the terms of Optuna."""
    from mmgraph.study.storage import optuna

    distributions = optuna().distributions
    if not isinstance(values, Mapping):
        return distributions.CategoricalDistribution(tuple(values))
    low, high, log, step = values["low"], values["high"], bool(values.get("log", False)), values.get("step")
    if isinstance(low, int) and isinstance(high, int) and not isinstance(default_of(candidate, name), float):
        return distributions.IntDistribution(low, high, log=log, step=1 if step is None else int(step))
    return distributions.FloatDistribution(float(low), float(high), log=log, step=step)


def check_values(of: str, values: Any) -> None:
    """Refuse what is neither a list of values nor a range."""
    if isinstance(values, Mapping):
        if set(values) - RANGE or not {"low", "high"} <= set(values):
            raise ValueError(f"{of}: a range has low and high and may have log and step, got {dict(values)}.")
        low, high = values["low"], values["high"]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high)) or not low <= high:
            raise ValueError(f"{of}: low and high must be numbers, low not above high; got {low!r} and {high!r}.")
        if values.get("log") and (low <= 0 or values.get("step") is not None):
            raise ValueError(f"{of}: a logarithmic range starts above 0 and has no step, got {dict(values)}.")
    elif isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
        raise ValueError(f"{of}: a space is a list of values or a range with low and high, got {values!r}.")


def default_of(candidate: Candidate, name: str) -> Any:
    """The default of a hyper-parameter or an option of `fit`; none for a name that is neither."""
    from mmgraph.study.fit import fit

    for role in ROLES:
        if role.owns(name):
            return method_defaults(role.named(candidate.fixed[role.option])).get(name.removeprefix(f"{role.option}."))
    return inspect.signature(fit).parameters[name].default if name in TUNABLE else defaults(candidate.cls).get(name)


def values_of(one: Any) -> list[Any] | None:
    """All values of a distribution; none for a continuous one."""
    if hasattr(one, "choices"):
        return list(one.choices)
    if one.low == one.high:
        return [one.low]
    if one.step is None:
        return None
    return [one.low + i * one.step for i in range(int((one.high - one.low) / one.step + 1e-9) + 1)]


def plain(value: Any) -> Any:
    """Settings as JSON: tuples become lists; group-robust training and switches their fields."""
    if isinstance(value, GroupRobust | Switch):
        return written(value)
    if isinstance(value, Mapping):
        return {str(name): plain(v) for name, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value

"""Methods beside a warm model, for new items or for new users: what they share, and how they are called by name."""

import inspect
from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn


class Method(nn.Module, ABC):
    """Learns beside a fitted model from its warm users and items, and scores what the model was not trained on.

    The constructor takes keyword-only, typed, defaulted hyper-parameters, each stored under its own name. What is
    learned is a parameter of a module or a buffer, see `keep`.
    """

    def keep(self, **learned: Tensor) -> None:
        """Make tensors part of the state."""
        for name, tensor in learned.items():
            self.register_buffer(name, tensor)

    def hyperparameters(self) -> dict[str, Any]:
        """All keyword arguments of the constructor with their present values."""
        return {name: getattr(self, name) for name in method_defaults(type(self))}


M = TypeVar("M", bound=Method)


@dataclass(frozen=True)
class Role(Generic[M]):
    """What a method is there for, and the option of `mmgraph.fit` that names it.

    Args:
        base: the contract of such methods; its imported subclasses are known by name.
        option: of `fit`; behind it and a dot come the method's hyper-parameters: ``cold.l2``.
        what: such a method in words.
    """

    base: type[M]
    option: str
    what: str

    def own(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The hyper-parameters of the method among all settings, without what they begin with."""
        return {name.removeprefix(f"{self.option}."): v for name, v in settings.items() if self.owns(name)}

    def settings(self, method: M) -> dict[str, Any]:
        """The method's name and hyper-parameters, as options of `mmgraph.fit`."""
        return {self.option: type(method).__name__,
                **{f"{self.option}.{name}": value for name, value in method.hyperparameters().items()}}

    def owns(self, name: str) -> bool:
        """Whether a setting is a hyper-parameter of the method."""
        return name.startswith(f"{self.option}.")

    def named(self, name: str) -> type[M]:
        """The method's class.

        Raises:
            ValueError: if there is none of this name.
        """
        found = {cls.__name__: cls for cls in self.base.__subclasses__()}
        if name not in found:
            raise ValueError(f"no {self.what} is called {name!r}; there are {', '.join(sorted(found))}.")
        return found[name]

    def check(self, method: M | str | None, names: Iterable[str]) -> None:
        """Refuse hyper-parameters that the method, given as it is, by name or not at all, does not take.

        Raises:
            TypeError: for such a hyper-parameter.
            ValueError: for an unknown method.
        """
        known = method_defaults(self.named(method)) if isinstance(method, str) else {}
        if not (unknown := sorted({name.partition(".")[0] for name in names} - set(known))):
            return
        if isinstance(method, Method):
            raise TypeError(f"{', '.join(map(repr, unknown))}: {type(method).__name__} is made already; give its "
                            f"hyper-parameters where it is made, or the {self.what} by name.")
        raise TypeError(f"{method or f'without {self.option}=… there is no {self.what}, which'} has no hyper-parameter "
                        f"{', '.join(map(repr, unknown))}; it has {', '.join(sorted(known)) or 'none'}.")

    def by_name(self, name: str, hyperparameters: Mapping[str, Any]) -> M:
        """A method that has not learned yet; for errors see `check`.

        One entry of a hyper-parameter that is a mapping may be given behind its name and a dot: ``weights.text``.
        """
        self.check(name, hyperparameters)
        whole: dict[str, Any] = {}
        for key, value in hyperparameters.items():
            of, _, entry = key.partition(".")
            whole[of] = {**whole.get(of, {}), entry: value} if entry else value
        return self.named(name)(**whole)

    def given(self, method: M | str | None, hyperparameters: Mapping[str, Any]) -> M | None:
        """The method as it is, or by name; for errors see `check`."""
        if isinstance(method, str):
            return self.by_name(method, hyperparameters)
        self.check(method, hyperparameters)
        return method


def method_defaults(cls: type[Method]) -> dict[str, Any]:
    """Hyper-parameters of a method and their default values."""
    return {name: p.default for name, p in inspect.signature(cls).parameters.items()}

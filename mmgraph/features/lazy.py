"""What is loaded when it is first needed, once, and never copied: the weights of an encoder."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload
from weakref import WeakKeyDictionary

import torch

T = TypeVar("T")
LOADING = threading.Lock()  # for all together: libraries change global state while they build a model


class Lazy(Generic[T]):
    """An attribute of a class: what each object has loaded, none before `once`.

    It is kept beside the object, not in it: a copy, also one for another device or in another process, loads its own.
    """

    def __init__(self) -> None:
        self._loaded: WeakKeyDictionary[Any, T] = WeakKeyDictionary()

    @overload
    def __get__(self, owner: None, cls: type) -> "Lazy[T]": ...

    @overload
    def __get__(self, owner: object, cls: type) -> T | None: ...

    def __get__(self, owner: object | None, cls: type) -> "Lazy[T] | T | None":
        return self if owner is None else self._loaded.get(owner)

    def once(self, owner: object, load: Callable[[], T]) -> T:
        """What the owner has loaded, by ``load`` if nobody has asked before."""
        with LOADING, torch.inference_mode(False):  # weights that can still be trained
            if owner not in self._loaded:
                self._loaded[owner] = load()
            return self._loaded[owner]

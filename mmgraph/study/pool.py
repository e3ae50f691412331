"""The same function on many tasks, side by side in processes, results in the order of the tasks."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

import torch

Context = TypeVar("Context")
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
_shared: list[Any] = []  # what a worker process was given when it started


class Pool(Generic[Context]):
    """Runs tasks that share a context; with one job, in this process.

    Worker processes are started anew (``spawn``), so a script that runs a study with several jobs must keep its work
    under ``if __name__ == "__main__":``.

    Args:
        context: first argument of every task; sent to each process once.
        jobs: processes.
        threads: of torch in each; none leaves it as it is.
    """

    def __init__(self, context: Context, jobs: int, threads: int | None):
        self.context, self.jobs, self.threads = context, jobs, threads
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Pool[Context]":
        if self.jobs > 1:
            threads = self.threads or max(1, torch.get_num_threads() // self.jobs)
            self._pool = self._stack.enter_context(ProcessPoolExecutor(
                self.jobs, multiprocessing.get_context("spawn"), _start, (self.context, threads)))
        elif self.threads is not None:
            self._stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self.threads)
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None and error[0] is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._stack.close()

    def map(self, function: Callable[[Context, Task], Outcome], tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcome of each task, in order, as soon as those before it are there."""
        if self._pool is None:
            return (function(self.context, task) for task in tasks)
        return self._pool.map(_call, [function] * len(tasks), tasks)


def _start(context: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    _shared[:] = [context]
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: else it would go on writing beside the run that takes its place."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _call(function: Callable[[Any, Task], Outcome], task: Task) -> Outcome:
    return function(_shared[0], task)

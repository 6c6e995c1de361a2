"""Work on all cores that this process may use: tasks run beside one another, their results come in the order of the tasks.

What native code does for a task, it does without the interpreter's lock. What must not go in here: what a task does.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Task = Callable[[], Result]

_SLICE = 50_000  # rows, or pairs, of a task


def slices(count: int) -> list[slice]:
    """Divide so many rows into what is a task each."""
    return [slice(first, min(first + _SLICE, count)) for first in range(0, count, _SLICE)]


def in_order(tasks: Iterable[Task[Result]]) -> Iterator[Result]:
    """Give the results of tasks, the first one first, whatever their number or that of the cores.

    A task is begun only when a core is free or about to be, so that results which nobody has taken yet do not pile up.
    What a task raises is raised in its place.
    """
    cores = len(os.sched_getaffinity(0))
    waiting: deque[Future[Result]] = deque()
    rest = iter(tasks)
    with ThreadPoolExecutor(cores, thread_name_prefix="linkage") as pool:
        try:
            waiting.extend(pool.submit(task) for task in itertools.islice(rest, cores + 1))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(task) for task in itertools.islice(rest, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def do_all(tasks: Iterable[Task[object]]) -> None:
    """Have tasks done that have no result."""
    for _ in in_order(tasks):
        pass

"""Processes that write a searched base beside the test, or die while they do."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from broker.config import Config
from broker.config import load as load_config
from broker.records import change, index_build
from broker.records.index import IndexChanges
from broker.records.load import Source, load
from broker.records.packing import PACKINGS
from tests.support import searched
from tests.support.people import resident_id

COUNT = 300  # people who are loaded
DECLARED = searched.base()


def rows(numbers: range | list[int], name: str = "张三") -> Source:
    return Source(
        "test", [{"resident_id": resident_id(n), "name": f"{name}{n % 7}", "birth_date": "1980-01-01"} for n in numbers]
    )


def ids(numbers: range) -> Source:
    return Source("test", [{"resident_id": resident_id(n)} for n in numbers])


# Processes that begin without what this one has open: LMDB opens a base once a process, and a fork has it open.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.support.index_writers"])


def started(work: Callable[..., None], *arguments: Any) -> Any:
    process = _processes.Process(target=work, args=arguments)
    process.start()
    return process


def in_child(work: Callable[..., None], *arguments: Any) -> int:
    """Run something in a process of its own; returns how it ended."""
    process = started(work, *arguments)
    process.join()
    return int(process.exitcode)


def upserting(environment: dict[str, str], numbers: range | list[int], names: list[str]) -> None:
    """Put records in, time and again, each time under another name."""
    PACKINGS.offer(searched.PlainPacking)
    for name in names:
        change.upsert(load_config(None, environment), DECLARED, [rows(numbers, name)], most_bad_rows=0)


def deleting(environment: dict[str, str], numbers: range) -> None:
    PACKINGS.offer(searched.PlainPacking)
    change.delete(load_config(None, environment), DECLARED, [ids(numbers)], most_bad_rows=0)


def loading(environment: dict[str, str], numbers: range) -> None:
    PACKINGS.offer(searched.PlainPacking)
    load(load_config(None, environment), DECLARED, [rows(numbers)], most_bad_rows=0)


def rebuilding(environment: dict[str, str]) -> None:
    PACKINGS.offer(searched.PlainPacking)
    rebuild(load_config(None, environment))


def dying(environment: dict[str, str], death: str) -> None:
    owner, name, instead, rebuilds, *_ = DEATHS[death]
    setattr(owner, name, instead)
    rebuilding(environment) if rebuilds else upserting(environment, range(COUNT - 5, COUNT + 5), ["李四"])


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(done: Callable[..., object]) -> Callable[..., object]:
    def do(*arguments: Any, **options: Any) -> None:
        done(*arguments, **options)
        die()

    return do


def rebuild(config: Config) -> None:
    change.index(config, DECLARED, lambda _: lambda _: None)


# Where a writer is killed, whether it builds, whether the change counts, and how many files of indexes it leaves.
DEATHS: dict[str, tuple[Any, str, Callable[..., object], bool, bool, int]] = {
    "while it packs": (searched.PlainPacking, "learn", die, True, False, 3),
    "before the new one is in force": (index_build, "_with_delta", dying_after(index_build._with_delta), True, False, 4),
    "before the base is changed": (IndexChanges, "prepare", dying_after(IndexChanges.prepare), False, False, 2),
    "before what changed is published": (IndexChanges, "publish", die, False, True, 2),
}

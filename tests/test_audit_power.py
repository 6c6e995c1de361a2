"""The power goes while a stream is written, at any moment, and the disk loses what it may: what was said to be durable is
there.

One process writes on a traced disk (tests/support/disk_faults.py), and its trace is cut again and again. The negative control
is a disk that only says that it syncs: there, records that were said to be durable are lost, so the method finds it out when
they are. `AUDIT_POWER_CUTS=1000 pytest tests/test_audit_power.py`, or `make chaos-audit`, cuts more often; there the power
also goes under ext4 itself (tests/chaos_audit.py). What must not go in here: kills without a power cut (test_audit_kills.py).
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from broker.audit.segments import find_start
from tests import journal_kit as kit
from tests.support import disk_faults
from tests.support.audit_writer import record_of
from tests.support.disk_faults import Disk, Event

CUTS = int(os.environ.get("AUDIT_POWER_CUTS", "40"))
RECORDS = 400


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    directory = tmp_path_factory.mktemp("power")
    try:
        faults = disk_faults.build(directory)
    except disk_faults.NoCompiler:
        pytest.skip("there is no C compiler (cc) to build a disk that is traced")
    program = "from tests.support import audit_writer\naudit_writer.trace(*sys.argv[1:])\n"
    kit.run_on(faults, program, directory / "core", RECORDS, 1, trace=directory / "trace")
    found = disk_faults.read_trace(directory / "trace")
    assert sum(event.kind == "R" for event in found) > 10, "segments were made while it was traced"
    return found


def cut(events: list[Event], at: int, folder: Path, draw: random.Random, *, syncs: bool) -> int:
    """Let the power go after so many changes; returns how many records had been said to be durable."""
    disk = Disk(syncs=syncs)
    for event in events[:at]:
        disk.take(event)
    folder.mkdir(parents=True)
    disk.cut(folder, draw)
    return disk.acknowledged


def moments(events: list[Event], count: int) -> list[int]:
    """Moments of a trace: any, just after something was said to be durable, just after something was written."""
    draw = random.Random(count)
    after = {kind: [at for at, event in enumerate(events, 1) if event.kind == kind] for kind in "AW"}
    return [draw.choice(draw.choice((after["A"], after["W"], range(len(events) + 1)))) for _ in range(count)]


def test_what_was_said_to_be_durable_outlives_the_power(events: list[Event], tmp_path: Path) -> None:
    torn, last = 0, max(event.at for event in events if event.kind == "A")
    for number, at in enumerate(moments(events, CUTS)):
        folder = tmp_path / str(number) / "core"
        said = cut(events, at, folder, random.Random(number), syncs=True)
        start = find_start(folder, 1)
        assert start.records >= said, f"cut {number}: {said} were said to be durable"
        torn += start.left > 0
        with kit.writing(folder) as writer:
            kit.wait_for(writer, writer.append(b"after") + 1)
        held = kit.records(folder)
        written = min(start.records, last)  # behind it is that the stream was closed
        assert held[:written] == [record_of(sequence) for sequence in range(written)]
        assert held[start.records] == b"after"
        assert kit.fault(folder) is None
    sys.stdout.write(f"{CUTS} power cuts, {torn} of them tore a batch\n")
    assert torn


def test_a_disk_that_does_not_sync_is_found_out(events: list[Event], tmp_path: Path) -> None:
    lost = 0
    for number, at in enumerate(moments(events, 20)):
        folder = tmp_path / str(number) / "core"
        said = cut(events, at, folder, random.Random(number), syncs=False)
        try:
            lost += find_start(folder, 1).records < said
        except Exception:  # what is left is no log at all
            lost += said > 0
    assert lost >= 5

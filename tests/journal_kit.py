"""What tests of the journal share: a writer on a folder, and what a folder holds, read by the verifier that imports nothing of
ours.

What must not go in here: assertions of one test alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from select import select as choose
from typing import Any

from broker._native import journal
from broker.audit.segments import find_start, open_folder
from tests.oracle import audit as oracle

BOOT, KEY = b"b" * 16, b"k" * 16
NUMBERS = {1: "sha256", 2: "sm3"}


@contextlib.contextmanager
def writing(folder: Path, *, algorithm: int = 1, **settings: Any) -> Iterator[journal.Writer]:
    """A writer where the stream was left."""
    descriptor = open_folder(folder)
    writer = None
    try:
        start = find_start(folder, algorithm)
        writer = journal.Writer(
            descriptor,
            folder.name,
            algorithm=algorithm,
            boot=BOOT,
            key=KEY,
            why=start.why,
            numbers=(start.segment, start.batches, start.records),
            chain=start.chain,
            tree=(start.batches, b"".join(start.nodes)),
            valid=start.valid,
            left=start.left,
            wall_ns=start.wall_ns,
            **{"segment_bytes": 1 << 20, "step_bytes": 1 << 16, "linger_us": 0, "retry_ms": 5} | settings,
        )
        yield writer
    finally:
        if writer is not None:
            writer.close()
        os.close(descriptor)


def wait_for(writer: journal.Writer, records: int) -> None:
    """Wait until so many records are durable, by the event that is rung for it."""
    while writer.durable < records:
        os.set_blocking(writer.event, True)
        os.eventfd_read(writer.event)


def select(event: int, seconds: float = 0.05) -> bool:
    """Whether an event was rung by then."""
    return bool(choose([event], [], [], seconds)[0])


def segments(folder: Path) -> list[tuple[Any, bytes]]:
    """The headers of a stream's segments, and what of each counts."""
    files = [path.read_bytes() for path in sorted(folder.glob("*.audit"))]
    headers = [oracle.SEGMENT.unpack_from(data) for data in files]
    ends = [header[11] for header in headers[1:]] + [len(files[-1])] if files else []
    return [(header, data[:end]) for header, data, end in zip(headers, files, ends, strict=True)]


def batches(folder: Path, *, checked: bool = True) -> list[tuple[Any, list[bytes]]]:
    """The headers of all batches that count, and their records; unchecked where a CRC a byte at a time takes too long."""
    found = []
    for _, data in segments(folder):
        at = oracle.SEGMENT.size
        while data[at : at + 4] == b"BATC":
            header = oracle.BATCH.unpack_from(data, at)
            end = at + oracle.BATCH.size + header[1]
            if end > len(data) or (checked and not oracle.is_batch(data, at)):
                break
            found.append((header, oracle.records_in(data[at + oracle.BATCH.size : end], header[2])))
            at = end
    return found


def records(folder: Path) -> list[bytes]:
    """All records that count, in order of their sequence."""
    return [record for _, held in batches(folder) for record in held]


def fault(folder: Path, algorithm: int = 1) -> oracle.Fault | None:
    """What is wrong with a stream."""
    return oracle.verify_stream(folder, [], NUMBERS[algorithm], [])


def run_on(faults: Path, program: str, *arguments: object, trace: Path | None = None) -> str:
    """Run a program on a disk that may be told to fail, by `disk.disk_fault(…)`; returns what it wrote."""
    before = (
        "import ctypes, errno, sys\nfrom pathlib import Path\nfrom tests import journal_kit as kit\ndisk = ctypes.CDLL(None)\n"
    )
    before += "PWRITE, FDATASYNC, FALLOCATE, FSYNC, SHORT, ALWAYS = 0, 1, 2, 3, -1, 1 << 30\n"
    preloaded = ":".join(filter(None, (os.environ.get("LD_PRELOAD"), str(faults))))  # sanitizers want to be first
    environment = os.environ | {"LD_PRELOAD": preloaded, "PYTHONPATH": str(Path(__file__).parent.parent)}
    environment |= {"DISK_TRACE": str(trace)} if trace else {}
    command = [sys.executable, "-c", before + textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

"""A process that writes an audit stream and says what was told to be durable, until it is killed.

    python -m tests.support.audit_writer nursery DIRECTORY STREAM     forks a writer for each line that it reads; writes its pid
    python -m tests.support.audit_writer trace DIRECTORY RECORDS SEED writes so many under disk_faults.c, and ends

A writer of the nursery writes lines "SEQUENCE TOKEN" to standard output, once a record is durable, all at once where several
are. What must not go in here: whether it is true (test_audit_kills.py, test_audit_power.py).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import sys
from pathlib import Path

from broker._native import journal
from broker.audit.streams import Stream, Writing, open_stream
from broker.audit.subject import SubjectKey
from tests import journal_kit as kit

KEY = SubjectKey(b"k" * 32)
CALLERS = 100
WRITING = Writing(segment_bytes=1 << 18, step_bytes=1 << 16, linger_us=50, retry_ms=5)


async def _call(stream: Stream, token: str) -> None:
    draw = random.Random(token)
    for count in range(1 << 30):
        own = f"{token}-{count}"
        identifier = await stream.record(kind=2, request_id=own, consumer="x" * draw.randrange(300))
        os.write(1, f"{identifier.rpartition('.')[2]} {own}\n".encode())


async def _write(directory: Path, name: str) -> None:
    async with open_stream(directory, name, KEY, WRITING) as stream:
        await asyncio.gather(*(_call(stream, f"{os.getpid()}-{caller}") for caller in range(CALLERS)))


def nursery(directory: str, name: str) -> None:
    """Fork writers, each once the one before has ended; what they import is imported already."""
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(_write(Path(directory), name))
        os.write(1, f"forked {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"ended\n")


def record_of(sequence: int) -> bytes:
    """What a traced writer writes."""
    return b"%08d" % sequence + random.Random(sequence).randbytes(sequence % 700)


def trace(directory: str, records: str, seed: str) -> None:
    """Write records in bursts, in small segments, and say to the trace what is durable."""
    disk, draw = ctypes.CDLL(None), random.Random(int(seed))
    with kit.writing(Path(directory), segment_bytes=1 << 14, step_bytes=1 << 13) as writer:
        appended = 0
        while appended < int(records):
            for _ in range(draw.choice((1, 1, 5, 30))):
                after = journal.CLOSES_SEGMENT if draw.random() < 0.01 else journal.GOES_ON
                appended = writer.append(record_of(appended), after) + 1
            kit.wait_for(writer, draw.randrange(appended + 1))
            disk.disk_acknowledged(ctypes.c_uint64(writer.durable))
        kit.wait_for(writer, appended)
        disk.disk_acknowledged(ctypes.c_uint64(appended))


if __name__ == "__main__":
    {"nursery": nursery, "trace": trace}[sys.argv[1]](*sys.argv[2:])

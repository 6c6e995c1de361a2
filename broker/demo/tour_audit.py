"""Steps of the tour about the audit log: who read somebody's data, proof of one call, and a bit that was changed.

What is shown is done by the operators' own commands; the bit is changed in a copy. What must not go in here: the other steps.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from broker.audit.layout import CHECKPOINTS, HEADER_BYTES, VERIFIER_FILE, segments_of
from broker.demo.interfaces import sample_arguments
from broker.demo.step import Broken, Step, Visitor, check
from broker.errors import AuditRefused
from broker.v1.exchange_pb2 import CallRequest

INTERFACE, CONSUMER, PURPOSE = "national.person.basic", "civil-affairs", "subsidy-check"
_READERS = {"civil-affairs", "housing-bureau", "notary-office"}  # who has asked about the tour's first person so far
_LONGEST_S = 20.0
_STREAM = "front-0"
_IN_BATCH = 200  # behind the header of the first batch, so within its records


class Told(NamedTuple):
    """What a command told."""

    code: int
    facts: dict[str, Any]
    ms: float


async def _audit(visitor: Visitor, *arguments: str | Path, given: str = "", **settings: str | Path) -> Told:
    """Run `broker audit …` to its end."""
    words = [*map(str, arguments), "--json", "--config", str(visitor.demo.config_file)]
    began, pipe = time.perf_counter(), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker.cli.main", "audit", *words),
        stdin=pipe,
        stdout=pipe,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {name: str(value) for name, value in settings.items()},
    )
    output, _ = await process.communicate(given.encode())
    facts: dict[str, Any] = msgspec.json.decode(output) if output else {}
    return Told(process.returncode or 0, facts, (time.perf_counter() - began) * 1000)


def _log(visitor: Visitor) -> Path:
    return visitor.demo.config.path(visitor.demo.config.audit.directory)


async def who_read(visitor: Visitor) -> Step:
    """Who asked about one person; the identifier is given on standard input, which no other user can see."""
    who = visitor.people[0]["resident_id"]
    told = await _audit(visitor, "usage", "--subject", "--page-size", "1000", given=who)
    check(told.code == 0, "it must be told who asked about a person")
    records = told.facts["records"]
    times = [record["at"] for record in records]
    check(times == sorted(times, reverse=True), "the newest must come first")
    readers = Counter(record["consumer"] for record in records)
    check(set(readers) == _READERS, f"those who have asked must be found, and nobody else: {', '.join(readers)}")
    newest = records[0]
    return Step(
        title="who read this person's data?",
        result=f"{told.facts['total_size']} accesses",
        source="audit log",
        time_ms=told.ms,
        notes=(
            "broker audit usage --subject, the id on standard input; time of the whole command",
            ", ".join(f"{reader} {count}" for reader, count in readers.most_common()),
            f"newest: {newest['consumer']} for {newest['purpose']}, saw {', '.join(newest['fields'])} ({newest['audit_id']})",
        ),
    )


async def proved(visitor: Visitor) -> Step:
    """One call is proved to be in the log, to somebody who has nothing but the proof and the public key."""
    who = sample_arguments(visitor.demo.city, INTERFACE, 1)[0]
    async with visitor.client(CONSUMER) as client:
        call = CallRequest(interface=INTERFACE, arguments=who, purpose=PURPOSE)
        audit_id = (await client.exchange.Call(call, timeout=5)).audit_id
    elsewhere = visitor.demo.directory / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    proof, key = elsewhere / "proof.json", shutil.copy(_log(visitor) / VERIFIER_FILE, elsewhere)
    began = time.perf_counter()
    while (await _audit(visitor, "prove", audit_id, "--into", proof)).code:
        check(time.perf_counter() - began < _LONGEST_S, "a checkpoint must cover a call soon")
    checked = await _audit(visitor, "prove", "--check", proof, "--key", key, BROKER__DATA_DIR=elsewhere / "nothing")
    check(checked.code == 0, "the proof must hold with the public key alone")
    read = msgspec.json.decode(proof.read_bytes())
    hashes = sum(len(read[tree]["path"]) for tree in ("batch", "stream", "log") if tree in read)
    return Step(
        title=f"proof that {audit_id} is in the log",
        result="PROVED",
        source=f"{proof.stat().st_size:,} bytes",
        time_ms=checked.ms,
        notes=(f"broker audit prove --check {proof} --key …: offline, by {hashes} hashes and a signature",),
    )


async def tampered(visitor: Visitor) -> Step:
    """The log verifies, while it is written; a copy in which one bit was changed does not, and the batch is named."""
    copy = visitor.demo.directory / "tampered"
    await asyncio.to_thread(_copy, _log(visitor), copy)
    _flip(segments_of(copy / _STREAM)[1])
    verified = _audit(visitor, "verify"), _audit(visitor, "verify", BROKER__AUDIT__DIRECTORY=copy)
    sound, found = await asyncio.gather(*verified)
    check(sound.code == 0, "the log must be as it was written")
    check(found.code == AuditRefused.exit_code, "a byte that was changed must be found")
    check(found.facts["faults"][0].startswith(f"stream {_STREAM}, segment 1, batch 0: "), "the batch must be named")
    records, streams = sum(one["records"] for one in sound.facts["streams"]), len(sound.facts["streams"])
    return Step(
        title="a bit of the log changed, in a copy",
        result="found",
        source=f"{records:,} records",
        time_ms=found.ms,
        notes=(
            f"broker audit verify: {found.facts['faults'][0]}",
            f"and of the log itself: {streams} streams and {sound.facts['checkpoints']} checkpoints are as they were written",
        ),
    )


def _copy(log: Path, copy: Path) -> None:
    """Copy a log that is being written: the checkpoints first, so that the streams have all that they say."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(log / CHECKPOINTS, copy / CHECKPOINTS)
    shutil.copytree(log, copy, dirs_exist_ok=True, ignore=lambda _, names: {CHECKPOINTS, "usage"}.intersection(names))


def _flip(segment: Path) -> None:
    with segment.open("r+b") as file:
        file.seek(HEADER_BYTES + _IN_BATCH)
        (byte,) = file.read(1) or (None,)
        if byte is None:
            raise Broken("there must be records in the log")
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


PROOF_OF_ACCESS = (who_read, proved, tampered)

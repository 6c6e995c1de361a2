"""Feeds calls whose metadata and texts are anything to a front that puts down what it answers. Invariant: no crash, a record of
each answer that protobuf can read, nothing left when the consumers have gone, and a stream that both verifiers take.

Run as `python tests/fuzz/fuzz_trail.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. A broker runs
beside, whose core knows the consumer; the front is of this process, and its consumers are played over transports in memory, so
that they come and go while their answers are held. What must not go in here: frames that are no HTTP/2 (fuzz_front.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker import config
from broker._native.connection import Connection
from broker._native.session import live_calls
from broker.client import TokenSource
from broker.serve.front import FrontProcess
from broker.v1 import exchange_pb2 as pb
from broker.v1.audit_pb2 import AuditRecord
from tests import journal_kit as kit
from tests.attack_kit import CALL, CANCEL, PREFACE, RST_STREAM, SETTINGS, Fields, fields_of, message, raw, request
from tests.fuzz.fuzz_front import Transport
from tests.support.calling import NOBODY, WHO, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE
from tests.support.provider import Register
from tests.support.remembered_answers import records_of
from tests.support.running import RunningBroker

MATCH = "/broker.v1.ExchangeService/Match"
SLOT = 7
BROKER = {"BROKER__AUDIT__MODE": "durable", "BROKER__AUDIT__SEGMENT_MIB": "1"}
SAID = ("device-id", "request-id", "operator-id", "operator-unit")


def text(draw: random.Random) -> bytes:
    """A value of metadata: any bytes but those that HTTP/2 forbids, UTF-8 or not, of a length that may be or is too long."""
    size = draw.choice([0, 1, 5, 31, 127, 128, 129, 1500])
    anything = bytes(draw.choice(range(0x21, 0x100)) for _ in range(size)).replace(b"\x7f", b"x")
    return draw.choice([anything, anything.decode("latin-1").encode()[:size], b"x" * size, ("张" * size).encode()[: size + 1]])


def fields(draw: random.Random, token: str, path: str) -> Fields:
    more = [(name, text(draw)) for name in draw.sample(SAID, draw.choice([0, 0, 1, 2, 4]))]
    return fields_of(path, ("authorization", f"Bearer {token}"), *more)


def question(draw: random.Random, path: str) -> bytes:
    """A call or a comparison, some of its texts anything, now and then a byte of it."""
    said = {name: draw.choice(["", "", "案" * 42, "x" * 128, "\0\x01"]) for name in ("matter", "case_id", "operator")}
    key = {"resident_id": draw.choice((WHO, WHO, WHO, NOBODY))}
    if path == CALL:
        made = pb.CallRequest(interface=INTERFACE, arguments=key, purpose=PURPOSE, **said).SerializeToString()
    else:
        asserted = dict.fromkeys(draw.sample(("name", "birth_date", "status"), draw.randint(1, 3)), "张三")
        made = pb.MatchRequest(interface=INTERFACE, key=key, asserted=asserted, purpose=PURPOSE, **said).SerializeToString()
    changed = bytearray(made)
    if draw.random() < 0.2:
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


async def consumer(front: FrontProcess, draw: random.Random, tokens: TokenSource) -> None:
    """One consumer's connection: some calls, some of them reset while they are held, and an end at any time."""
    session, stream = Connection(front._front), 1
    session.connection_made(Transport())  # type: ignore[arg-type]  # what of a transport is used
    session.data_received(PREFACE + raw(SETTINGS, 0, 0))
    for _ in range(draw.randint(1, 30)):
        data = b""
        for _ in range(draw.randint(1, 4)):
            path = draw.choice((CALL, MATCH))
            data += request(stream, fields(draw, tokens(), path), message(question(draw, path)))
            stream += 2
        session.data_received(data)
        if draw.random() < 0.2:
            session.data_received(raw(RST_STREAM, 0, draw.randrange(1, stream, 2), CANCEL.to_bytes(4)))
        await asyncio.sleep(draw.choice([0, 0, 0.001, 0.005]))
    session.connection_lost(None)


@contextlib.asynccontextmanager
async def running(broker: RunningBroker) -> AsyncIterator[FrontProcess]:
    """A front in this process, beside that of a broker."""
    with mock.patch.dict(os.environ, broker.environment):
        front = FrontProcess(config.load(None), SLOT)
    async with front._trail.open():
        await front._follower.start()
        chores = [asyncio.create_task(chore) for chore in (front._keep_core(), front._tick(), front._follower.run())]
        await front._connected.wait()
        yield front
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)


async def fuzz(directory: Path, seconds: float, seed: int) -> tuple[int, int]:
    """Returns how many consumers there were, and how many records of what they were answered."""
    broker = RunningBroker(directory, **BROKER)
    broker.start()
    try:
        async with Register() as register:
            register.add(WHO, "张三", ZT="正常")
            await put(broker, register)
            tokens, until, seeds = TokenSource(CONSUMER, broker.key_file), time.monotonic() + seconds, seed
            async with running(broker) as front:
                while time.monotonic() < until:
                    await asyncio.gather(*(consumer(front, random.Random(seeds + n), tokens) for n in range(8)))
                    seeds += 8
                async with asyncio.timeout(30):
                    while live_calls():  # noqa: ASYNC110 - what is held is let go of by the disk, and the core's by the core
                        await asyncio.sleep(0.01)
                answered = front._front.counters()["answered"]
        return seeds - seed, check(directory / "data" / "audit" / f"front-{SLOT}", answered)
    finally:
        broker.kill()


def check(folder: Path, answered: int) -> int:
    """Read the stream with both readers; each answer has a record."""
    held = [AuditRecord.FromString(record) for record in records_of(folder)]
    outcomes = [one for one in held if one.outcome in ("FOUND", "NOT_FOUND")]
    if len(outcomes) != answered or not answered or kit.fault(folder) is not None:
        raise AssertionError(f"{answered} answers, {len(outcomes)} records, {kit.fault(folder)}")
    if any(one.consumer != CONSUMER or one.subject == b"" for one in outcomes):
        raise AssertionError("a record is not of who asked")
    return len(outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        consumers, records = asyncio.run(fuzz(Path(directory), options.seconds, options.seed))
    sys.stdout.write(f"{consumers} consumers, {records} answers, each with its record, no crash, nothing left\n")


if __name__ == "__main__":
    main()

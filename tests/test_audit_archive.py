"""Archiving loses and doubles nothing, wherever it is interrupted; what is archived proves itself, what is kept verifies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.audit import export, records
from broker.audit.archive import Archiver, archived, expire, prove_archived, verify_archive
from broker.audit.layout import segments_of
from broker.audit.notes import Keys
from broker.audit.proofs import prove
from broker.audit.records import RecordId
from broker.audit.signer import CheckpointSigner, open_key
from broker.audit.verify import verify
from broker.errors import AuditRefused, ConfigurationError, DirectoryUnusable
from broker.v1 import audit_pb2 as pb
from tests.oracle import audit as oracle
from tests.oracle.audit_notes import MISTAKES
from tests.support.audit_log import AT_NS, NAME, AuditLog

DAY_NS = 86_400 * 1_000_000_000
LAST = 1 << 63


class World:
    """A log of four segments, signed by its own key, and an archive."""

    def __init__(self, directory: Path, algorithm: str = "sha256") -> None:
        self.log = AuditLog(directory / "audit", ["core"], algorithm)
        self.directory, self.archives = self.log.directory, directory / "archives"
        core = self.log.streams["core"]
        for segment in range(3):
            for batch in range(segment + 1):
                core.batch([f"{segment} {batch} {number}".encode() for number in range(3)])
            core.rotate([f"last of {segment}".encode()])
        core.batch([b"kept"])
        core.batch([b"what nothing follows"])
        self.records = core.records
        self.signer = open_key(self.directory, NAME)
        self.keys, self.vkey = Keys([self.signer.verifier]), str(self.signer.verifier)
        self.sign()

    def sign(self) -> None:
        signing = CheckpointSigner(self.directory, self.signer, NAME)
        signing.sign(lambda: AT_NS / 1e9)
        signing.close()

    @property
    def archiver(self) -> Archiver:
        return Archiver(self.directory, self.archives, self.signer, NAME)

    def check(self) -> None:
        """The log is good to both verifiers, and every archive too."""
        assert verify(self.directory, self.keys, origin=NAME).faults == []
        assert oracle.verify(self.directory, [self.vkey], (), NAME) == []
        for folder in archived(self.archives).get("core", {}).values():
            assert verify_archive(folder, self.keys, NAME).records == oracle.verify_archive(folder, [self.vkey], NAME)

    def everywhere(self) -> list[int]:
        """Sequences of all records, in the archive and in the log."""
        found = []
        for segment, folder in archived(self.archives).get("core", {}).items():
            if segment not in segments_of(self.directory / "core"):
                found += list(_sequences(folder, segment))
        for segment in segments_of(self.directory / "core"):
            found += list(_sequences(self.directory / "core", segment))
        return found


def _sequences(folder: Path, segment: int) -> Iterator[int]:
    for _, first, found in records.batches(folder, segment):
        yield from range(first, first + len(found))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("algorithm", ["sha256", "sm3"])
def test_closed_segments_are_archived_and_the_rest_still_verifies(tmp_path: Path, algorithm: str) -> None:
    world = World(tmp_path, algorithm)
    assert world.archiver.closed(LAST) == [("core", 1), ("core", 2), ("core", 3)]
    assert world.archiver.closed(0) == []
    for segment in (1, 2, 3):
        told = world.archiver.archive("core", segment)
        assert (told.segment, told.batches) == (segment, segment + 1)
        world.check()
        assert world.everywhere() == list(range(world.records))
    assert list(segments_of(world.directory / "core")) == [4]
    world.log.streams["core"].batch([b"more"])
    world.sign()
    shutil.rmtree(world.directory / "resume")
    world.sign()
    world.check()


def test_every_record_is_proved_from_where_it_is(world: World) -> None:
    for segment in (1, 2, 3):
        world.archiver.archive("core", segment)
    for sequence in range(world.records - 1):
        try:
            proof = prove(world.directory, RecordId("core", sequence), world.keys)
        except AuditRefused:
            proof = prove_archived(world.archives, RecordId("core", sequence), world.keys)
        assert oracle.check_proof(json.loads(proof.to_json()), [world.vkey], NAME) == proof.record
    with pytest.raises(AuditRefused, match="not in the archive"):
        prove_archived(world.archives, RecordId("core", world.records), world.keys)


class Killed(BaseException):
    """The process ends here."""


STEPS = ((os, "fsync"), (os, "fdatasync"), (os, "open"), (os, "write"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir"))


@pytest.mark.parametrize("is_done", [False, True], ids=["before a step", "after a step"])
def test_wherever_it_is_interrupted_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    origin = World(tmp_path / "origin")
    origin.archiver.archive("core", 1)
    steps = 0
    for number in range(200):
        here = tmp_path / str(number)
        shutil.copytree(tmp_path / "origin", here)
        world = World.__new__(World)
        world.__dict__ = {**origin.__dict__, "directory": here / "audit", "archives": here / "archives"}
        with monkeypatch.context() as patched:
            _kill_at(patched, number, is_done)
            try:
                world.archiver.archive("core", 2)
            except Killed:
                steps += 1
            else:
                break
        assert verify(world.directory, world.keys, origin=NAME).faults == []
        assert world.everywhere() == list(range(world.records))
        if 2 in segments_of(world.directory / "core"):
            world.archiver.archive("core", 2)
        world.check()
        assert world.everywhere() == list(range(world.records))
        shutil.rmtree(here)
    assert steps > 15


def _kill_at(patched: pytest.MonkeyPatch, number: int, is_done: bool) -> None:
    count = iter(range(10_000))

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            at = next(count)
            if at == number and not is_done:
                raise Killed
            made = real(*arguments, **named)
            if at == number:
                raise Killed
            return made

        return called

    for owner, name in STEPS:
        real = (lambda _: None) if "sync" in name else getattr(owner, name)  # that it was asked to counts here, not the disk
        patched.setattr(owner, name, killing(real))


def test_what_is_not_closed_covered_or_whole_stays_where_it_is(world: World) -> None:
    with pytest.raises(AuditRefused, match="not the first"):
        world.archiver.archive("core", 2)
    shutil.rmtree(world.directory / "checkpoints")
    with pytest.raises(AuditRefused, match="no checkpoint has"):
        world.archiver.archive("core", 1)
    file = segments_of(world.directory / "core")[1]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(AuditRefused, match="batch 1: the CRC"):
        world.archiver.archive("core", 1)
    assert file.exists()
    assert archived(world.archives) == {}
    with pytest.raises((AuditRefused, DirectoryUnusable)):
        world.archiver.archive("core", 4)


def test_an_archive_that_was_changed_is_found_out(world: World) -> None:
    world.archiver.archive("core", 1)
    folder = world.archiver.archive("core", 2).folder
    for file in sorted(folder.iterdir()):
        if file.name in ("README.md", "checkpoint.vkey"):
            continue
        data = file.read_bytes()
        for place in range(0, len(data), 13):
            changed = bytearray(data)
            changed[place] ^= 1
            file.write_bytes(changed)
            if file.name == "proof.json" and _reads_the_same(data, changed):
                continue
            with pytest.raises(AuditRefused, match="damaged"):
                verify_archive(folder, world.keys, NAME)
            with pytest.raises((*MISTAKES, oracle.Rewritten)):
                oracle.verify_archive(folder, [world.vkey], NAME)
        file.write_bytes(data)
    world.check()


def _reads_the_same(data: bytes, changed: bytes) -> bool:
    """Whether JSON says the same, or differs in what no verifier reads."""
    try:
        before, after = json.loads(data), json.loads(changed)
    except ValueError:
        return False
    before.pop("format")
    return bool(before.items() <= after.items()) and after.get("format") != "broker-audit-proof/1"


def test_an_anchor_that_was_changed_is_found_out(world: World) -> None:
    world.archiver.archive("core", 1)
    file = world.directory / "anchors" / "core.notes"
    data = file.read_bytes()
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert [fault[:3] for fault in verify(world.directory, world.keys).faults] == [("core", 2, 0)]
        assert [fault[:3] for fault in oracle.verify(world.directory, [world.vkey])] == [("core", 2, 0)]
    file.unlink()
    assert [fault[:3] for fault in verify(world.directory, world.keys).faults] == [("core", 2, 0)]


def test_archives_are_kept_for_years_and_never_less_than_half_a_year(world: World) -> None:
    for segment in (1, 2):
        world.archiver.archive("core", segment)
    told: list[int] = []

    def gone(now_ns: int, days: int = 1096) -> list[int]:
        return [one.segment for one in expire(world.archives, days, now_ns, world.keys, lambda one: told.append(one.segment))]

    with pytest.raises(ConfigurationError, match="183"):
        gone(LAST, 182)
    assert gone(AT_NS + 1096 * DAY_NS) == []
    assert gone(AT_NS + 1096 * DAY_NS + 2_000_000) == [1]
    assert list(archived(world.archives)["core"]) == [2]
    assert told == [1]
    world.check()  # what follows, and the log, need nothing that has gone


# --- export --------------------------------------------------------------------------------------------------------------


def test_lines_say_what_records_say_and_hold_no_tricks(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", ["core"])
    hostile = [
        '=cmd|"/c calc"!A1',
        "+1",
        "-1",
        "@x",
        "\r\nforged",
        '"}\n{"a":1',
        "\x1b[31m",
        "\u202eevil",
        "\x85\u2028",
        "张三",
        '\\"=x',
    ]
    made = []
    for number, text in enumerate(hostile):
        one = pb.AuditRecord(
            consumer=text, case_id=text, fields=[text, "b"], subject=bytes(range(32)), kind=pb.AUDIT_KIND_OUTCOME, version=2
        )
        one.at.seconds = number
        made.append(one)
    log.streams["core"].batch([one.SerializeToString() for one in made] + [b"\xff\xff"])
    told = list(export.lines(log.directory / "core"))
    assert len(told) == len(hostile) + 1
    for number, (text, line) in enumerate(zip(hostile, told, strict=False)):
        assert line.count("\n") == 1
        assert not set(line[:-1]) & {chr(code) for code in [*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E]}
        assert not any(f'"{sign}' in line.replace('\\"', "") for sign in "=+-@")
        read = json.loads(line)
        assert (read["consumer"], read["case_id"], read["fields"]) == (text, text, [text, "b"])
        assert read["subject"] == bytes(range(32)).hex()
        assert (read["audit_id"], read["kind"], read["version"]) == (f"core.{number}", "OUTCOME", 2)
        assert read["at"] == f"1970-01-01T00:00:{number:02}Z"
    assert json.loads(told[-1]) == {"audit_id": f"core.{len(hostile)}", "undecodable": "ffff"}
    period = list(export.lines(log.directory / "core", from_ns=2_000_000_000, until_ns=4_000_000_000))
    assert [json.loads(line)["audit_id"] for line in period] == ["core.2", "core.3", f"core.{len(hostile)}"]

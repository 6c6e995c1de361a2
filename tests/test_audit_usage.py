"""Who read the data of one subject: exactly what the log says, newest first, in pages, without what is withheld."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.audit.layout import segments_of, streams_of
from broker.audit.tail import Place
from broker.audit.usage import Release, UsageIndex, filling, rebuild
from broker.errors import BaseBusy, InvalidRequest
from broker.v1 import audit_pb2 as pb
from tests.support.audit_log import AuditLog

SECOND = 1_000_000_000
SUBJECTS = [bytes([number]) * 32 for number in range(1, 4)]
DAY_S = 86_400.0


def record(subject: bytes, at_s: int, **fields: object) -> pb.AuditRecord:
    made = pb.AuditRecord(subject=subject, kind=pb.AUDIT_KIND_OUTCOME, outcome="FOUND", **fields)  # type: ignore[arg-type]
    made.at.seconds = at_s
    return made


def everything(log: AuditLog) -> dict[str, Place]:
    places = {}
    for name, folder in streams_of(log.directory).items():
        last = max(segments_of(folder))
        places[name] = Place(last, segments_of(folder)[last].stat().st_size)
    return places


class World:
    """A log with records drawn at random, and all that was put into it."""

    def __init__(self, directory: Path) -> None:
        self.log, self.kept, draw = AuditLog(directory), [], random.Random(7)
        for number in range(60):
            name = draw.choice(["core", "front-0"])
            stream = self.log.streams[name]
            made = [record(draw.choice(SUBJECTS), 1_000 + draw.randrange(500)) for _ in range(draw.randint(1, 5))]
            for sequence, one in enumerate(made, stream.records):
                one.embargo = draw.choice(["", "", "", "police", "unknown"])
                kept = pb.AuditRecord()
                kept.CopyFrom(one)
                kept.audit_id = f"{name}.{sequence}"
                self.kept.append(kept)
            stream.batch([one.SerializeToString() for one in made])
            if number % 20 == 19:
                stream.rotate([b"\xff not a record"])

    def of(self, subject: bytes, *embargoes: str) -> list[str]:
        own = [one for one in self.kept if one.subject == subject and one.embargo in ("", *embargoes)]
        streams = list(dict.fromkeys(one.audit_id.split(".")[0] for one in sorted(own, key=lambda one: one.audit_id)))
        return [one.audit_id for one in sorted(own, key=lambda one: self._order(one, streams))]

    @staticmethod
    def _order(one: pb.AuditRecord, streams: list[str]) -> tuple[int, int, int]:
        name, _, sequence = one.audit_id.partition(".")
        return -one.at.seconds, streams.index(name), int(sequence)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("usage") / "audit")


@pytest.fixture
def index(world: World) -> Iterator[UsageIndex]:
    shutil.rmtree(world.log.directory / "usage", ignore_errors=True)
    index = UsageIndex(world.log.directory)
    index.fill(everything(world.log))
    yield index
    index.close()


def ids(index: UsageIndex, subject: bytes, **asked: object) -> list[str]:
    """Return identifiers over all pages; every page says the same total."""
    found: list[str] = []
    token = ""
    while True:
        page = index.find(subject, token=token, **asked)  # type: ignore[arg-type]
        found += [one.audit_id for one in page.found]
        token = page.next_token
        if not token:
            assert page.total == len(found)
            return found


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("page_size", [1, 3, 50])
def test_every_access_is_told_once_and_newest_first(world: World, index: UsageIndex, subject: bytes, page_size: int) -> None:
    assert ids(index, subject, page_size=page_size) == world.of(subject)
    assert [one for one in index.find(subject).found if one.subject != subject] == []


def test_a_page_is_as_the_log_has_it(world: World, index: UsageIndex) -> None:
    by_id = {one.audit_id: one for one in world.kept}
    assert all(by_id[one.audit_id] == one for one in index.find(SUBJECTS[0]).found)


def test_nobody_asked_about_a_stranger(index: UsageIndex) -> None:
    assert index.find(b"s" * 32) == ([], "", 0)
    assert index.find(b"\xff" * 32) == ([], "", 0)
    assert index.find(bytes(32)) == ([], "", 0)
    assert index.find(SUBJECTS[0][:31] + b"x").found == []  # the same in the index, and not in the log


def test_a_period_is_from_its_start_and_before_its_end(world: World, index: UsageIndex) -> None:
    at = {one.audit_id: one.at.seconds for one in world.kept}
    for first, last in ((1_000, 1_500), (1_100, 1_200), (1_499, 1_500), (1_500, 1_500), (1_200, 1_100)):
        expected = [one for one in world.of(SUBJECTS[1]) if first <= at[one] < last]
        assert ids(index, SUBJECTS[1], from_ns=first * SECOND, until_ns=last * SECOND, page_size=7) == expected


def test_what_is_under_an_embargo_is_withheld_until_its_release(world: World, index: UsageIndex) -> None:
    at = {one.audit_id: one.at.seconds for one in world.kept}
    releases = {"police": Release(after_s=DAY_S)}
    day_later = ids(index, SUBJECTS[0], releases=releases, clock=lambda: int((1_500 + DAY_S) * SECOND))
    assert day_later == world.of(SUBJECTS[0], "police")
    before = ids(index, SUBJECTS[0], releases=releases, clock=lambda: 1_500 * SECOND)
    assert before == world.of(SUBJECTS[0])
    between = ids(index, SUBJECTS[0], releases=releases, clock=lambda: int((1_250 + DAY_S) * SECOND))
    police = {one.audit_id for one in world.kept if one.embargo == "police"}
    assert between == [one for one in world.of(SUBJECTS[0], "police") if one not in police or at[one] <= 1_250]
    both = {"police": Release(at_ms=2_000_000), "unknown": Release(at_ms=2_000_000)}
    assert ids(index, SUBJECTS[0], releases=both, clock=lambda: 2_000 * SECOND) == world.of(SUBJECTS[0], "police", "unknown")
    assert ids(index, SUBJECTS[0], releases=both, clock=lambda: 1_999 * SECOND) == world.of(SUBJECTS[0])


def test_an_intent_is_told_until_its_outcome_is(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", ["core"])
    intent = record(SUBJECTS[0], 5)
    intent.kind = pb.AUDIT_KIND_INTENT
    log.streams["core"].batch([intent.SerializeToString(), intent.SerializeToString()])
    index = UsageIndex(log.directory)
    index.fill(everything(log))
    assert ids(index, SUBJECTS[0]) == ["core.0", "core.1"]
    log.streams["core"].batch([record(SUBJECTS[0], 6, intent="core.0").SerializeToString()])
    look = record(SUBJECTS[0], 7)
    look.kind = pb.AUDIT_KIND_LOOK
    odd = record(SUBJECTS[1], 1 << 62), record(SUBJECTS[1], -5)
    log.streams["core"].batch([look.SerializeToString(), *(one.SerializeToString() for one in odd)])
    assert index.fill(everything(log)) == 4
    assert ids(index, SUBJECTS[1]) == ["core.4", "core.5"]
    assert ids(index, SUBJECTS[1], from_ns=1 << 65) == ["core.4"]
    assert index.fill(everything(log)) == 0
    assert ids(index, SUBJECTS[0]) == ["core.2", "core.1"]
    index.close()


def test_the_index_is_filled_up_to_what_is_certain_and_made_anew(world: World) -> None:
    places = everything(world.log)
    with filling(world.log.directory):
        with pytest.raises(BaseBusy), filling(world.log.directory):
            pass
        count = rebuild(world.log.directory, {**places, "core": Place(1, 256)})
        index = UsageIndex(world.log.directory, readonly=True)
        assert {one.split(".")[0] for one in ids(index, SUBJECTS[0])} == {"front-0"}
        index.close()
        assert rebuild(world.log.directory, places) > count
    index = UsageIndex(world.log.directory)
    assert sorted(ids(index, SUBJECTS[0])) == sorted(world.of(SUBJECTS[0]))
    index.close()


@pytest.mark.parametrize("token", ["x", "AAAA", "?", "=" * 24, "A" * 25])
def test_tokens_of_no_page_are_refused(index: UsageIndex, token: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        index.find(SUBJECTS[0], token=token)


def test_what_the_log_no_longer_has_is_not_told(world: World, index: UsageIndex, tmp_path: Path) -> None:
    there = segments_of(world.log.directory / "core")
    moved = tmp_path / "archives" / "core" / f"{1:020}"
    moved.mkdir(parents=True)
    shutil.move(there[1], moved / there[1].name)
    page = index.find(SUBJECTS[0], page_size=1000)
    assert 0 < len(page.found) < page.total
    with_archives = UsageIndex.__new__(UsageIndex)
    with_archives.__dict__ = {**index.__dict__, "_archives": tmp_path / "archives"}
    assert len(with_archives.find(SUBJECTS[0], page_size=1000).found) == page.total
    shutil.move(moved / there[1].name, there[1])

"""A log that was tampered with is found out, the first bad batch is named, and two verifiers say the same of every log."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.audit.notes import Keys, Verifier
from broker.audit.verify import Fault, verify
from tests.oracle import audit as oracle
from tests.support.audit_log import NAME, AuditLog, Signer, small_log

Places = list[tuple[str, int | None, int | None]]


def ours(log: AuditLog, witness: bytes = b"") -> Places:
    """Return what the product's verifier finds."""
    witnesses = [witness] if witness else []
    found = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]), witnesses=witnesses, origin=NAME).faults
    return [fault[:3] for fault in found]


def found_at(log: AuditLog, place: int, witness: bytes = b"") -> Places:
    """Have both look for some places, and for the others the one that is quick."""
    return ours(log, witness) if place % 17 else both(log, witness)


def both(log: AuditLog, witness: bytes = b"") -> Places:
    """Have both verifiers look, and return what they agree on."""
    witnesses = [witness] if witness else []
    found = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]), witnesses=witnesses, origin=NAME).faults
    theirs = oracle.verify(log.directory, [log.signer.vkey], witnesses, NAME)
    assert [fault[:3] for fault in found] == [fault[:3] for fault in theirs], (found, theirs)
    return [fault[:3] for fault in found]


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return small_log(tmp_path / "audit")


@pytest.fixture
def one_stream(tmp_path: Path) -> AuditLog:
    return small_log(tmp_path / "audit", names=["core"])


def segment(log: AuditLog, number: int, stream: str = "core") -> Path:
    return log.directory / stream / f"{number:020}.audit"


def batches_of(data: bytes) -> list[bytes]:
    found, at = [], oracle.SEGMENT.size
    while at < len(data):
        size = oracle.BATCH.size + int.from_bytes(data[at + 4 : at + 8])
        found.append(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("algorithm", ["sha256", "sm3"])
def test_a_log_as_it_was_written_is_good(tmp_path: Path, algorithm: str) -> None:
    log = small_log(tmp_path / "audit", algorithm)
    report = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]), witnesses=["---\n".join(log.notes).encode()])
    assert both(log, "---\n".join(log.notes).encode()) == []
    assert [(facts.stream, facts.segments, facts.batches, facts.records) for facts in report.streams] == [
        ("core", 2, 4, 7),
        ("front-0", 2, 4, 7),
    ]
    assert all(facts.covered == facts.records for facts in report.streams)
    assert (report.checkpoints, report.newest_serial, report.witnessed_serial) == (3, 3, 3)


@pytest.mark.parametrize("number", [1, 2])
def test_every_byte_of_a_segment_matters(one_stream: AuditLog, number: int) -> None:
    file = segment(one_stream, number)
    data = file.read_bytes()
    bounds = [(oracle.SEGMENT.size, -1)]
    for batch in batches_of(data):
        bounds.append((bounds[-1][0] + len(batch), bounds[-1][1] + 1))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        found = found_at(one_stream, place)
        first = {1: 0, 2: 3}[number]
        in_batch = next(batch for end, batch in bounds if place < end)
        assert found == [("core", number, first + max(in_batch, 0))], place


def test_every_byte_of_the_checkpoints_matters(one_stream: AuditLog) -> None:
    file = sorted((one_stream.directory / "checkpoints").iterdir())[0]
    data = file.read_bytes()
    for place in range(0, len(data), 2):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 7
        file.write_bytes(changed)
        assert ("", None, None) in found_at(one_stream, place), place


@pytest.mark.parametrize("number", [1, 2])
def test_every_truncation_of_a_segment_is_found(one_stream: AuditLog, number: int) -> None:
    file = segment(one_stream, number)
    data = file.read_bytes()
    for size in range(len(data)):
        file.write_bytes(data[:size])
        assert [fault[:1] for fault in found_at(one_stream, size)] == [("core",)], size


def test_every_truncation_of_the_checkpoints_is_found_with_a_witness(one_stream: AuditLog) -> None:
    file = sorted((one_stream.directory / "checkpoints").iterdir())[-1]
    data = file.read_bytes()
    for size in range(len(data)):
        file.write_bytes(data[:size])
        assert ("", None, None) in found_at(one_stream, size, one_stream.notes[-1].encode()), size


def edit(number: int, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[AuditLog], None]:
    def edited(log: AuditLog) -> None:
        file = segment(log, number)
        data = file.read_bytes()
        file.write_bytes(data[: oracle.SEGMENT.size] + b"".join(change(batches_of(data))))

    return edited


def rename(log: AuditLog) -> None:
    segment(log, 2).rename(segment(log, 3))


def exchange_streams(log: AuditLog) -> None:
    core, front, other = (log.directory / name for name in ("core", "front-0", "x"))
    core.rename(other)
    front.rename(core)
    other.rename(front)


def replay(log: AuditLog) -> None:
    data = segment(log, 1).read_bytes()
    segment(log, 3).write_bytes(data)


def another_stream(log: AuditLog) -> None:
    shutil.copytree(log.directory / "core", log.directory / "front-1")


def rewrite_header(log: AuditLog) -> None:
    data = bytearray(segment(log, 2).read_bytes())
    data[40:48] = bytes(8)  # the wall clock
    data[252:256] = oracle.crc32c(bytes(data[:252])).to_bytes(4)
    segment(log, 2).write_bytes(data)


TAMPERED: dict[str, tuple[Callable[[AuditLog], None], Places]] = {
    "a batch deleted": (edit(1, lambda found: found[1:]), [("core", 1, 0)]),
    "a batch deleted in the middle": (edit(1, lambda found: [found[0], found[2]]), [("core", 1, 1)]),
    "the last batch deleted": (edit(2, lambda found: []), [("core", 2, 3)]),
    "two batches swapped": (edit(1, lambda found: [found[1], found[0], found[2]]), [("core", 1, 0)]),
    "a batch inserted": (edit(1, lambda found: [found[0], found[0], *found[1:]]), [("core", 1, 1)]),
    "a batch behind the end": (edit(1, lambda found: [*found, found[0]]), [("core", 1, 3)]),
    "bytes behind the end": (edit(1, lambda found: [*found, b"\0\0\0\0\1"]), [("core", 1, 3)]),
    "a batch behind a hole": (edit(2, lambda found: [*found, bytes(9), *found]), [("core", 2, 4)]),
    "a segment deleted": (lambda log: segment(log, 1).unlink(), [("core", 2, 0)]),
    "the last segment deleted": (lambda log: segment(log, 2).unlink(), [("core", 1, 3)]),
    "a segment renamed": (rename, [("core", 3, 3)]),
    "segments swapped": (exchange_streams, [("core", 1, 0), ("front-0", 1, 0)]),
    "a segment replayed": (replay, [("core", 2, 4)]),
    "a header rewritten": (rewrite_header, [("core", 2, 3)]),
    "a stream deleted": (lambda log: shutil.rmtree(log.directory / "core"), [("core", None, 0)]),
    "a stream copied": (another_stream, [("front-1", 1, 0)]),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found_and_the_first_bad_batch_named(log: AuditLog, how: str) -> None:
    tamper, expected = TAMPERED[how]
    tamper(log)
    found = both(log)
    if how == "a segment replayed":
        assert found[0][:2] in {("core", 2), ("core", 3)}
    else:
        assert found == expected


def test_a_tail_that_was_hashed_anew_is_found_by_its_checkpoint(tmp_path: Path, log: AuditLog) -> None:
    other = AuditLog(tmp_path / "other")
    core = other.streams["core"]
    core.batch([b"core a"])
    core.batch([b"core 0", b"changed", b"core 2"])
    core.rotate([b"last"])
    core.batch([b"x" * 40, b"y"])
    for number in (1, 2):
        shutil.copy(segment(other, number), segment(log, number))
    assert both(log) == [("core", 1, 1)]


def test_a_log_that_another_key_signed_is_refused(tmp_path: Path, log: AuditLog) -> None:
    forged = AuditLog(tmp_path / "forged")
    forged.signer = Signer(seed=2)
    forged.streams["core"].batch([b"x"])
    forged.checkpoint()
    shutil.rmtree(log.directory)
    shutil.copytree(forged.directory, log.directory)
    assert ("", None, None) in both(log)


def test_a_directory_that_was_rolled_back_is_found_by_its_witness(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.streams["core"].batch([b"a"])
    log.checkpoint()
    shutil.copytree(log.directory, tmp_path / "yesterday")
    log.streams["core"].batch([b"b"])
    witnessed = log.checkpoint().encode()
    assert both(log, witnessed) == []
    shutil.rmtree(log.directory)
    shutil.copytree(tmp_path / "yesterday", log.directory)
    assert both(log) == []  # by itself it is a good log
    assert both(log, witnessed) == [("", None, None), ("core", 1, 1)]


def test_what_a_restart_cut_off_is_told_and_not_bad(log: AuditLog) -> None:
    core = log.streams["core"]
    valid = core.file.stat().st_size
    with core.file.open("ab") as file:
        file.write(b"BATC torn" + bytes(50))
    report = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]))
    assert both(log) == []
    assert report.streams[0].unfinished_bytes == 9
    core.begin(oracle.RESTARTED, valid, 9)
    core.batch([b"after"])
    log.checkpoint("2026-09-23")
    assert both(log) == []
    core.begin(oracle.FAILED, core.file.stat().st_size, 0)
    report = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]))
    assert both(log) == []
    assert report.streams[0].cut_bytes == 9
    with segment(log, 2).open("ab") as file:
        file.write(b"more than was cut")
    assert both(log) == [("core", 2, 4)]


def test_a_segment_that_was_only_begun_is_not_bad(log: AuditLog) -> None:
    segment(log, 3).write_bytes(bytes(100))
    assert both(log) == []
    segment(log, 4).write_bytes(b"")
    assert both(log) == [("core", 3, 4)]


actions = st.lists(
    st.one_of(
        st.tuples(st.just("batch"), st.integers(0, 1), st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=5)),
        st.tuples(st.just("rotate"), st.integers(0, 1), st.just([b"r"])),
        st.tuples(st.just("restart"), st.integers(0, 1), st.binary(max_size=9)),
        st.tuples(st.just("checkpoint"), st.just(0), st.none()),
    ),
    max_size=12,
)
wrongs = st.tuples(st.sampled_from(["none", "flip", "cut", "double", "drop"]), st.integers(0, 1 << 20), st.integers(0, 7))


def perform(log: AuditLog, doing: list[tuple[str, int, object]]) -> None:
    for action, place, what in doing:
        stream = log.streams[("core", "front-0")[place]]
        match action, what:
            case "batch", list():
                stream.batch(what)
            case "rotate", list():
                stream.rotate(what)
            case "restart", bytes():
                valid, torn = stream.file.stat().st_size, what.rstrip(b"\0")
                with stream.file.open("ab") as file:
                    file.write(torn)
                stream.begin(oracle.RESTARTED, valid, len(torn))
            case _:
                log.checkpoint()


def spoil(log: AuditLog, how: str, place: int, bit: int) -> None:
    files = sorted(log.directory.rglob("*.audit")) + sorted(log.directory.rglob("*.notes"))
    file = files[place % len(files)]
    data = bytearray(file.read_bytes())
    at = place // len(files) % len(data)
    match how:
        case "flip":
            data[at] ^= 1 << bit
        case "cut":
            del data[at:]
        case "double":
            data[at:at] = data[at : at + 150]
        case "drop":
            del data[at : at + 40]
    file.write_bytes(data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doing=actions, wrong=wrongs)
def test_both_verifiers_say_the_same_of_any_log(
    tmp_path_factory: pytest.TempPathFactory, doing: list[tuple[str, int, object]], wrong: tuple[str, int, int]
) -> None:
    log = AuditLog(tmp_path_factory.mktemp("log") / "audit")
    perform(log, doing)
    assert both(log) == []
    log.checkpoint()
    spoil(log, *wrong)
    changed = wrong[0] != "none"
    found = both(log, "---\n".join(log.notes).encode())
    assert found if changed and wrong[0] == "flip" else True
    shutil.rmtree(log.directory)


# --- the walk ------------------------------------------------------------------------------------------------------------


def steps(data: bytes, most: int) -> Iterator[tuple[int, int, bytes]]:
    walk, at, status = Walk(1), oracle.SEGMENT.size, journal_check.ON
    walk.begin_segment(data[:at])
    while status == journal_check.ON:
        at, status = walk.take(data, at, len(data), most_bytes=most)
        yield at, walk.batches, walk.root()


def test_a_walk_in_steps_is_one_walk(log: AuditLog) -> None:
    data = segment(log, 1).read_bytes()
    assert list(steps(data, 1))[-1] == list(steps(data, 1 << 30))[-1]
    walk = Walk(1)
    walk.begin_segment(data[:256])
    assert walk.take(data, 256, len(data), 2)[1] == journal_check.ON
    again = Walk(1, walk.batches, walk.records, walk.chain, walk.nodes())
    for one in (walk, again):
        one.take(data, len(data) - len(batches_of(data)[-1]), len(data))
    assert (walk.root(), walk.chain) == (again.root(), again.chain)


def test_offsets_and_nodes_that_do_not_fit_are_refused(log: AuditLog) -> None:
    data = segment(log, 1).read_bytes()
    for at, end in ((-1, 5), (6, 5), (0, len(data) + 1)):
        with pytest.raises(ValueError, match="within the segment"):
            Walk(1).take(data, at, end)
    with pytest.raises(ValueError, match="nodes"):
        Walk(1, 3, 3, bytes(32), [bytes(32)])
    with pytest.raises(ValueError, match="algorithm"):
        Walk(7)


def test_a_fault_reads_as_a_sentence() -> None:
    assert str(Fault("core", 1, 2, "x")) == "stream core, segment 1, batch 2: x"
    assert str(Fault("", None, None, "x")) == "checkpoints: x"


def test_batches_that_are_written_while_the_file_is_read_are_not_bad(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first only the beginning was read, of the second, which was written when the first was durable, all."""
    core = log.streams["core"]
    before, real, written = core.file.read_bytes(), journal_check.find_whole, []
    slow, following = core.batch([b"slow"]), core.batch([b"fast"])
    core.file.write_bytes(before + slow[:60] + bytes(len(slow) - 60) + following)

    def find_whole(data: bytes, at: int, end: int) -> int:
        if not written:
            written.append(at)
            core.file.write_bytes(before + slow + following)
        return real(data, at, end)

    monkeypatch.setattr(journal_check, "find_whole", find_whole)
    report = verify(log.directory, Keys([Verifier.parse(log.signer.vkey)]))
    assert (report.faults, len(written)) == ([], 1)
    assert report.streams[0].records == core.records

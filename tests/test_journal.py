"""Audit records as they are encoded, and the writer of a stream on a disk that does not fail.

The oracles are protobuf, and the second verifier of the log, which imports nothing of ours. What must not go in here: recovery
(test_audit_streams.py), disks that fail (test_journal_faults.py).
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker._native import journal, merkle
from broker._native.journal_check import Walk
from broker.v1.audit_pb2 import AUDIT_KIND_OUTCOME, AUDIT_KIND_TOLD, AuditRecord
from tests import journal_kit as kit

TEXTS = [name for name, field in AuditRecord.DESCRIPTOR.fields_by_name.items() if field.type == field.TYPE_STRING]
TEXTS = [name for name in TEXTS if name not in ("audit_id", "fields")]
DIGESTS = ("request_digest", "answer_digest", "subject")
NUMBERS = ("mono_ns", "grant_version", "snapshot_version", "took_us", "provider_us", "count", "change")

# Characters of each length in UTF-8, and those that injure logs which are not binary.
text = st.text(st.sampled_from('ab張\U0001f600é\0\r\n\x1b"}\u202e='), max_size=30)
drawn = st.fixed_dictionaries(
    {"wall_ns": st.integers(1, 1 << 62), "mono_ns": st.integers(1, (1 << 64) - 1)},
    optional={
        **dict.fromkeys(TEXTS, text),
        **{name: st.binary(max_size=64) for name in DIGESTS},
        **{name: st.integers(0, (1 << 64) - 1) for name in NUMBERS[1:]},
        "version": st.integers(0, (1 << 32) - 1),
        "kind": st.integers(0, 5),
        "fields": st.lists(text, max_size=20),
    },
)


def message(fields: dict[str, Any], **more: Any) -> AuditRecord:
    told = AuditRecord(**{name: value for name, value in fields.items() if name != "wall_ns"}, **more)
    told.at.FromNanoseconds(fields["wall_ns"])
    return told


@settings(max_examples=150, deadline=None)
@given(drawn)
def test_a_record_is_what_protobuf_writes(fields: dict[str, Any]) -> None:
    encoded = journal.encode(**fields)
    assert encoded == message(fields).SerializeToString()
    assert AuditRecord.FromString(encoded) == message(fields)


def test_every_field_of_the_message_can_be_told() -> None:
    own = {"at", "audit_id", "altered"}
    assert set(TEXTS) | set(DIGESTS) | set(NUMBERS) | {"version", "kind", "fields"} | own == set(
        AuditRecord.DESCRIPTOR.fields_by_name
    )


def mended(data: bytes) -> str:
    """What may be told of bytes: cut before the character that goes beyond, "?" for each byte that is none."""
    if len(data) > 1024:
        end = 1024
        while end > 1021 and data[end] & 0xC0 == 0x80:
            end -= 1
        data = data[:end]
    out = ""
    while data:
        size = next((size for size in (1, 2, 3, 4) if _is_character(data[:size])), 0)
        out, data = (out + data[:size].decode(), data[size:]) if size else (out + "?", data[1:])
    return out


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("name", ["consumer", "target"])
@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"a\xc3(b",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf5\x80\x80\x80",
        "張".encode()[:2],
        b"x" * 1025,
        b"x" * 1023 + "張三".encode(),
        b"x" * 1021 + "\U0001f600".encode(),
        b"\x80" * 3000,
        b"x" * 1_000_000,
    ],
)
def test_a_hostile_text_is_told_and_said_to_be_altered(name: str, data: bytes) -> None:
    told = AuditRecord.FromString(journal.encode(wall_ns=5, **{name: data}))  # type: ignore[misc]
    assert (getattr(told, name), told.altered) == (mended(data), True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_told(data: bytes) -> None:
    told = AuditRecord.FromString(journal.encode(operator=data, fields=[data]))
    assert (told.operator, list(told.fields)) == (mended(data), [mended(data)])
    assert told.altered == (mended(data).encode() != data)


def test_surrogates_and_too_many_names_are_told() -> None:
    told = AuditRecord.FromString(journal.encode(operator="a\ud800b"))
    assert (told.operator, told.altered) == ("a???b", True)
    encoded = journal.encode(**dict.fromkeys(TEXTS, "x" * 5000), fields=["y" * 1024] * 500, subject=bytes(500))  # type: ignore[misc]
    told = AuditRecord.FromString(encoded)
    assert len(encoded) <= 65_536
    assert 25 <= len(told.fields) < 500
    assert told.altered
    assert len(told.subject) == 64


def test_what_is_left_out_is_now_and_what_is_no_field_is_refused() -> None:
    before = time.time_ns(), time.monotonic_ns()
    told = AuditRecord.FromString(journal.encode(kind=AUDIT_KIND_OUTCOME))
    assert before[0] <= told.at.ToNanoseconds() <= time.time_ns()
    assert before[1] <= told.mono_ns <= time.monotonic_ns()
    for wrong in ({"audit_id": "x"}, {"altered": True}, {"consumer": 1}, {"consumer": None}, {"fields": [1]}):
        with pytest.raises(TypeError):
            journal.encode(**wrong)  # type: ignore[arg-type]
    for wrong in ({"version": 1 << 32}, {"version": -1}, {"took_us": 1 << 64}, {"wall_ns": -1}):
        with pytest.raises(OverflowError):
            journal.encode(**wrong)  # type: ignore[arg-type]


# --- the writer -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "front-0"


@pytest.mark.parametrize("algorithm", [merkle.SHA256, merkle.SM3])
def test_what_was_appended_is_there_and_verifies(folder: Path, algorithm: int) -> None:
    draw = random.Random(1)
    told = [draw.randbytes(draw.choice((1, 2, 100, 300))) for _ in range(500)]
    with kit.writing(folder, algorithm=algorithm) as writer:
        assert [writer.append(record) for record in told] == list(range(500))
        kit.wait_for(writer, 500)
        assert kit.records(folder) == told
        head = writer.head()
    assert kit.fault(folder, algorithm) is None
    assert kit.records(folder)[:-1] == told
    closed = AuditRecord.FromString(kit.records(folder)[-1])
    assert (closed.kind, closed.outcome) == (AUDIT_KIND_TOLD, "CLOSED")
    (_, data), *_ = kit.segments(folder)
    walk = Walk(algorithm)
    walk.begin_segment(data[:256])
    walk.take(data, 256, len(data), head[1])
    assert head == (500, walk.batches, walk.chain, walk.root())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_batch_tells_where_and_when_it_is(folder: Path) -> None:
    before = time.time_ns(), time.monotonic_ns()
    with kit.writing(folder) as writer:
        writer.set_snapshot(77)
        writer.append(b"a")
        kit.wait_for(writer, 1)
        writer.append(b"b")
    (first, _), (second, held), *_ = kit.batches(folder)
    assert (first[3], first[4], first[5], second[4], second[5]) == (0, 0, 0, 1, 1)
    assert before[0] <= first[6] <= second[6] <= time.time_ns()
    assert before[1] <= first[7] <= second[7] <= time.monotonic_ns()
    assert (first[8], held[0]) == (77, b"b")
    (header, _), *_ = kit.segments(folder)
    assert (header[2], header[4], header[8], header[13]) == (1, 1, kit.BOOT, kit.KEY)


def test_a_batch_is_full_by_records_or_by_bytes(folder: Path) -> None:
    with kit.writing(folder, linger_us=1000, segment_bytes=1 << 30, step_bytes=1 << 24) as writer:
        for _ in range(5000):
            writer.append(b"x")
        for _ in range(200):
            writer.append(bytes(65_536))
    batches = kit.batches(folder, checked=False)
    told = [record for _, held in batches for record in held]
    assert (len(told), sum(map(len, told[:-1]))) == (5201, 5000 + 200 * 65_536)
    assert max(len(held) for _, held in batches) == 1024
    assert 1 << 21 < max(header[1] for header, _ in batches) <= 1 << 22


def test_segments_are_closed_by_size_and_join(folder: Path) -> None:
    told = [bytes([i % 251]) * 500 for i in range(400)]
    with kit.writing(folder, segment_bytes=1 << 14, step_bytes=1 << 12) as writer:
        for record in told:
            kit.wait_for(writer, writer.append(record))
        assert writer.facts()["segments"] > 5
    assert kit.fault(folder) is None
    assert kit.records(folder)[:-1] == told
    headers = [header for header, _ in kit.segments(folder)]
    assert {(header[2], header[12]) for header in headers[1:]} == {(2, 0)}
    assert all(len(data) <= (1 << 14) + 700 * 10 for _, data in kit.segments(folder))


def test_the_tree_beside_a_segment_is_that_of_the_batches_before(folder: Path) -> None:
    with kit.writing(folder, segment_bytes=1 << 12) as writer:
        for _ in range(60):
            kit.wait_for(writer, writer.append(bytes(300)) + 1)
    leaves: list[bytes] = []
    for number, (_, data) in enumerate(kit.segments(folder), 1):
        tree = (folder / f"{number:020}.tree").read_bytes()
        assert tree[:8] + tree[8:10] == b"BRTREES1\0\1"
        assert int.from_bytes(tree[16:24]) == len(leaves)
        nodes, at = tree[24:-4], 0
        for size in (1 << bit for bit in reversed(range(64)) if len(leaves) >> bit & 1):
            assert nodes[:32] == merkle.root(leaves[at : at + size])
            nodes, at = nodes[32:], at + size
        assert nodes == b""
        at = 256
        while data[at : at + 4] == b"BATC":
            leaves.append(data[at : at + 120])
            at += 124 + int.from_bytes(data[at + 4 : at + 8])
    assert len(leaves) > 30


def test_a_record_may_close_the_segment_or_the_stream(folder: Path) -> None:
    with kit.writing(folder) as writer:
        writer.append(b"a", journal.CLOSES_SEGMENT)
        writer.append(b"b")
        kit.wait_for(writer, 2)
        writer.append(b"c", journal.CLOSES_STREAM)
        with pytest.raises(journal.Unavailable):
            writer.append(b"d")
    assert kit.records(folder) == [b"a", b"b", b"c"]
    assert [header[2] for header, _ in kit.segments(folder)] == [1, 2]
    assert kit.fault(folder) is None


def test_what_cannot_be_is_refused(folder: Path) -> None:
    with kit.writing(folder) as writer:
        for record in (b"", bytes(65_537)):
            with pytest.raises(ValueError, match="record"):
                writer.append(record)
        with pytest.raises(ValueError, match="after"):
            writer.append(b"x", 3)
        assert writer.append(bytes(65_536)) == 0
    for call in (lambda: writer.append(b"x"), writer.head):
        with pytest.raises(journal.Unavailable):
            call()
    assert (writer.state, writer.event, writer.durable, writer.facts()["durable"]) == (journal.ENDED, -1, 2, 2)
    writer.close()
    good = {
        "algorithm": 1,
        "boot": kit.BOOT,
        "key": kit.KEY,
        "why": 1,
        "numbers": (1, 0, 0),
        "chain": bytes(32),
        "tree": (0, b""),
    }
    for wrong in (
        {"algorithm": 3},
        {"boot": b""},
        {"key": bytes(17)},
        {"why": 5},
        {"chain": bytes(31)},
        {"tree": (1, bytes(32))},
        {"tree": (0, bytes(32))},
        {"step_bytes": 1},
        {"linger_us": 1 << 40},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            journal.Writer(0, "x", **good | wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stream"):
        journal.Writer(0, "x" * 33, **good)  # type: ignore[arg-type]


def test_no_segment_takes_the_place_of_another(folder: Path) -> None:
    with kit.writing(folder) as writer:
        writer.append(b"a")
    digest = hashlib.sha256((folder / f"{1:020}.audit").read_bytes()).digest()
    descriptor = os.open(folder, os.O_RDONLY)
    begin = {"why": 1, "numbers": (1, 0, 0), "chain": bytes(32), "tree": (0, b""), "boot": kit.BOOT, "key": kit.KEY}
    second = journal.Writer(descriptor, "front-0", algorithm=1, **begin)  # type: ignore[arg-type]
    assert (second.state, second.facts()["error"]) == (journal.FAILED, 17)
    second.close()
    os.close(descriptor)
    assert hashlib.sha256((folder / f"{1:020}.audit").read_bytes()).digest() == digest


def test_a_wall_clock_that_went_back_is_said(folder: Path) -> None:
    descriptor = kit.open_folder(folder)
    begin = {"why": 1, "numbers": (1, 0, 0), "chain": bytes(32), "tree": (0, b""), "boot": kit.BOOT, "key": kit.KEY}
    writer = journal.Writer(descriptor, "front-0", algorithm=1, wall_ns=1 << 62, **begin)  # type: ignore[arg-type]
    for count in (1, 2):
        writer.append(b"a")
        kit.wait_for(writer, count)
    writer.close()
    os.close(descriptor)
    assert [header[3] for header, _ in kit.batches(folder)] == [1, 0, 2]

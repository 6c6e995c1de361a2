"""A proof shows that one record is in the log, to who has the public key alone; one that was changed shows nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.audit.notes import Keys, Verifier
from broker.audit.proofs import Proof, StreamTree, prove
from broker.audit.records import RecordId, find
from broker.errors import AuditRefused
from broker.v1 import audit_pb2 as pb
from tests.oracle.audit import check_proof
from tests.oracle.audit_notes import MISTAKES, tree_over
from tests.support.audit_log import NAME, AuditLog, small_log


@pytest.fixture(scope="module", params=["sha256", "sm3"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return small_log(tmp_path_factory.mktemp("proofs") / "audit", request.param)


def keys(log: AuditLog) -> Keys:
    return Keys([Verifier.parse(log.signer.vkey)])


def test_every_record_is_proved_and_both_checkers_believe_it(log: AuditLog) -> None:
    for stream in log.streams:
        for sequence in range(7):
            proof = prove(log.directory, RecordId(stream, sequence), keys(log), NAME)
            told = json.loads(proof.to_json())
            assert Proof.from_json(proof.to_json()) == proof
            assert Proof.from_message(pb.GetInclusionProofResponse.FromString(proof.to_message().SerializeToString())) == proof
            assert proof.check(keys(log), NAME) == check_proof(told, [log.signer.vkey], NAME) == proof.record
            assert find(log.directory / stream, sequence).records[proof.in_batch.index] == proof.record


def test_what_is_not_there_or_not_signed_yet_is_not_proved(tmp_path: Path, log: AuditLog) -> None:
    for bad in ("core.7", "front-9.0", "core.99999999999999999999"):
        with pytest.raises(AuditRefused, match="no checkpoint has"):
            prove(log.directory, RecordId.parse(bad), keys(log))
    for bad in ("", "core", "core.", "core.x", "../core.1", ".1", "core.²"):
        with pytest.raises(AuditRefused, match="identifier"):
            RecordId.parse(bad)
    with pytest.raises(AuditRefused, match="no checkpoint"):
        prove(AuditLog(tmp_path / "empty").directory, RecordId("core", 0), keys(log))
    with pytest.raises(AuditRefused, match="has no record 7"):
        find(log.directory / "core", 7)


def changed(told: Any) -> Any:
    """Yield a proof with each of its parts changed, one at a time."""
    for part in ("batch", "stream", "log"):
        for name in ("index", "size"):
            yield {**told, part: {**told[part], name: told[part][name] + 1}}
        yield {
            **told,
            part: {**told[part], "path": [*told[part]["path"], told[part]["path"][0] if told[part]["path"] else "A" * 44]},
        }
        for place, one in enumerate(told[part]["path"]):
            path = [*told[part]["path"]]
            path[place] = ("B" if one[0] == "A" else "A") + one[1:]
            yield {**told, part: {**told[part], "path": path}}
            yield {**told, part: {**told[part], "path": path[:place] + path[place + 1 :]}}
    header = told["batch"]["header"]
    for place in range(0, len(header), 7):
        flipped = header[:place] + ("B" if header[place] == "A" else "A") + header[place + 1 :]
        yield {**told, "batch": {**told["batch"], "header": flipped}}
    for name, value in (("id", "core.5"), ("id", "front-0.4"), ("bytes", "AAAA")):
        yield {**told, "record": {**told["record"], name: value}}
    yield {**told, "stream": {**told["stream"], "head": told["stream"]["head"].replace(" 4 ", " 5 ")}}
    yield {**told, "hash": "sm3" if told["hash"] == "sha256" else "sha256"}
    note = told["checkpoint"]
    for place in range(0, len(note), 11):
        yield {**told, "checkpoint": note[:place] + chr(ord(note[place]) ^ 1) + note[place + 1 :]}


def test_a_proof_that_was_changed_shows_nothing(log: AuditLog) -> None:
    told = json.loads(prove(log.directory, RecordId("core", 2), keys(log)).to_json())
    count = 0
    for wrong in changed(told):
        with pytest.raises(AuditRefused):
            Proof.from_json(json.dumps(wrong)).check(keys(log), NAME)
        with pytest.raises(MISTAKES):
            check_proof(wrong, [log.signer.vkey], NAME)
        count += 1
    assert count > 80


def test_texts_that_are_no_proofs_are_refused() -> None:
    for text in ("", "[]", "{}", '{"format": "broker-audit-proof/1"}', "null", '{"format": 1}'):
        with pytest.raises(AuditRefused, match="no proof"):
            Proof.from_json(text)
    with pytest.raises(AuditRefused):
        Proof.from_message(pb.GetInclusionProofResponse())


@pytest.mark.parametrize("first", [0, 1, 2, 5, 6, 8, 13])
def test_paths_do_not_need_the_batches_that_were_archived(first: int) -> None:
    leaves = [bytes([number]) for number in range(21)]
    whole = tree_over("sha256", leaves)
    hashes = [whole.leaves[number] for number in range(21)]
    nodes, at = [], 0
    while at < first:
        size = 1 << (first - at).bit_length() - 1
        nodes.append(whole.root(at, at + size))
        at += size
    tree = StreamTree(b"".join(hashes[first:]), 1, first, tuple(nodes))
    for size in range(first + 1, 22):
        for index in range(first, size):
            assert list(tree.path(index, size).hashes) == whole.path(index, 0, size)
    if first > 1:
        with pytest.raises(KeyError):
            tree.root(0, 1)

"""`broker audit` on a log that the broker's own writer wrote: what it tells, and what it must never tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.audit.layout import segment_file
from broker.audit.signer import CheckpointSigner, open_key
from broker.audit.streams import Writing, open_stream
from broker.audit.subject import open_subject_key
from broker.cli.audit import app
from broker.errors import AuditRefused, ConfigurationError, DirectoryUnusable
from broker.v1 import audit_pb2 as pb
from tests.oracle import audit as oracle
from tests.support.people import resident_id

ORIGIN = "shared-data-broker/audit"
RECORDS = 18  # six a segment; the writer tells of its end by one of its own
WHO, OTHER = resident_id(1), resident_id(2)


class Log:
    """A log, and the settings that name it."""

    def __init__(self, directory: Path) -> None:
        self.file, self.data = directory / "broker.toml", directory / "var"
        self.directory = self.data / "audit"
        self.file.write_text(f'data_dir = "{self.data}"\n[audit]\nembargo_days = {{police = 30}}\n')
        self.data.mkdir()

    async def write(self) -> None:
        """Records by the broker's writer: three segments, signed."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        key = open_subject_key(self.data / "audit-subject.key")
        for number in range(3):
            stream = open_stream(self.directory, "core", key, Writing(step_bytes=1 << 16))
            async with stream:
                for who in (WHO, WHO, OTHER):
                    embargo = "police" if number == 2 and who == WHO else ""
                    await stream.record(
                        kind=pb.AUDIT_KIND_OUTCOME,
                        subject=key.subject(who),
                        consumer=f"bureau-{number}",
                        outcome="FOUND",
                        fields=["name"],
                        embargo=embargo,
                    )
                signer = CheckpointSigner(self.directory, open_key(self.directory, ORIGIN), ORIGIN)
                await stream.record(kind=pb.AUDIT_KIND_TOLD, target="so that it is followed")
                await stream.record(kind=pb.AUDIT_KIND_TOLD, target="so that it is followed")
                signer.sign()
                signer.close()

    def run(self, *arguments: str | Path, given: str = "") -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--config", str(self.file)], input=given)

    def facts(self, *arguments: str | Path, given: str = "") -> Any:
        done = self.run(*arguments, "--json", given=given)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    await log.write()
    return log


def vkey(log: Log) -> str:
    return (log.directory / "checkpoint.vkey").read_text()


def test_a_log_as_it_was_written_verifies_and_one_that_was_changed_does_not(log: Log) -> None:
    assert oracle.verify(log.directory, [vkey(log)]) == []
    told = log.facts("verify")
    assert (told["ok"], told["faults"], told["checkpoints"]) == (True, [], 3)
    assert told["streams"][0]["records"] == RECORDS
    assert "as it was written" in log.run("verify").output
    assert log.run("verify", "--key", vkey(log).strip()).exit_code == 0
    file = segment_file(log.directory / "core", 2)
    data = bytearray(file.read_bytes())
    data[300] ^= 1
    file.write_bytes(data)
    done = log.run("verify")
    assert done.exit_code == 19
    assert "stream core, segment 2, batch" in done.output


def test_a_proof_is_made_here_and_checked_with_the_key_alone(log: Log, tmp_path: Path) -> None:
    file, key = tmp_path / "proof.json", vkey(log).strip()
    assert log.facts("prove", "core.4", "--into", file)["record"] == "core.4"
    elsewhere = Log.__new__(Log)
    elsewhere.file = tmp_path / "elsewhere.toml"
    elsewhere.file.write_text(f'data_dir = "{tmp_path / "nothing"}"\n')
    assert elsewhere.facts("prove", "--check", file, "--key", key)["ok"]
    assert json.loads(log.run("prove", "core.4").stdout)["record"]["id"] == "core.4"
    file.write_text(file.read_text().replace("core.4", "core.5"))
    assert isinstance(elsewhere.run("prove", "--check", file, "--key", key).exception, AuditRefused)
    assert isinstance(log.run("prove", "core.400").exception, AuditRefused)


def test_usage_tells_who_asked_and_nothing_of_others(log: Log) -> None:
    told = log.facts("usage", "--subject", given=f"{WHO}\n")
    assert [one["consumer"] for one in told["records"]] == ["bureau-1", "bureau-1", "bureau-0", "bureau-0"]
    assert told["total_size"] == 4  # two are under an embargo
    first = log.facts("usage", "--subject", "--page-size", "3", given=WHO)
    rest = log.facts("usage", "--subject", "--page-size", "3", "--page-token", first["next_page_token"], given=WHO)
    assert [*first["records"], *rest["records"]] == told["records"]
    shown = log.run("usage", "--subject", given=WHO).output
    assert "4 of 4 accesses" in shown
    assert WHO not in shown
    assert log.facts("usage", "--subject", "--since", "2999-01-01", given=WHO)["total_size"] == 0
    assert log.facts("usage", "--subject", "--rebuild", given=OTHER)["total_size"] == 3


def test_what_is_no_identifier_is_refused_and_never_repeated(log: Log) -> None:
    done = log.run("usage", "--subject", given="110101199003070000\n")
    assert isinstance(done.exception, ConfigurationError)
    assert "1101011990" not in str(done.exception) + done.output


def test_closed_segments_are_archived_and_still_proved(log: Log) -> None:
    assert log.facts("archive", "--before", "2000-01-01") == {"archived": [], "removed": []}
    made = log.facts("archive", "--before", "2999-01-01", "--expire")
    assert [one["segment"] for one in made["archived"]] == [1, 2]
    assert made["removed"] == []
    told = log.facts("verify", "--archives")
    assert (told["ok"], told["archives"], told["streams"][0]["first_segment"]) == (True, 2, 3)
    assert log.facts("prove", "core.0")["ok"]
    assert log.facts("usage", "--subject", given=OTHER)["total_size"] in (1, 3)  # the index was made before, or of what is kept
    archived = next((log.data / "audit-archive").rglob("*.audit"))
    archived.write_bytes(archived.read_bytes()[:-1])
    assert log.run("verify", "--archives").exit_code == 19


def test_records_are_exported_as_lines(log: Log, tmp_path: Path) -> None:
    into = tmp_path / "records.jsonl"
    assert log.facts("export", "--into", into)["records"] == RECORDS
    lines = [json.loads(line) for line in into.read_text().splitlines()]
    assert [line["audit_id"] for line in lines] == [f"core.{number}" for number in range(RECORDS)]
    assert log.run("export", "--into", "-", "--stream", "core").stdout == into.read_text()
    assert log.run("export", "--into", "-", "--stream", "front-0").stdout == ""


def test_the_newest_checkpoint_is_printed(log: Log) -> None:
    assert log.run("checkpoint").stdout.startswith(f"{ORIGIN}\n1\n")
    assert log.facts("checkpoint")["serial"] == 3


def test_where_there_is_no_log_that_is_what_is_said(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for arguments in (("verify",), ("prove", "core.0"), ("usage", "--subject"), ("checkpoint",), ("export", "--into", "-")):
        assert isinstance(log.run(*arguments, given="x").exception, DirectoryUnusable)

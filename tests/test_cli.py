"""The command line as an operator uses it: every command prints JSON on request, and fails in one line with its own code."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker
from tests.test_catalogue import GOOD

WHO = resident_id(1)


def _run(broker: RunningBroker, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | broker.environment | {"BROKER_TARGET": broker.target, "COLUMNS": "200"}
    return subprocess.run(
        broker.command(*arguments), env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def _json(broker: RunningBroker, *arguments: str, stdin: str = "", code: int = 0) -> Any:
    done = _run(broker, *arguments, "--json", stdin=stdin)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def _calling(broker: RunningBroker) -> tuple[str, ...]:
    return ("--purpose", PURPOSE, "--consumer", CONSUMER, "--key-file", str(broker.key_file))


@pytest.fixture
async def ready(broker: RunningBroker, register: Register) -> RunningBroker:
    register.add(WHO, "张三")
    await broker.put(catalogue(register.base_url, broker.public_key))
    await broker.purge(all=True)
    return broker


# A command is another process; the provider it makes the broker ask lives in this one's event loop.
async def _in_thread(function: Any, *arguments: Any, **named: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(function, *arguments, **named)


async def test_call_prints_the_answer_and_its_provenance(ready: RunningBroker) -> None:
    answer = await _in_thread(_json, ready, "call", INTERFACE, f"resident_id={WHO}", *_calling(ready))
    assert (answer["found"], answer["fields"]["name"], answer["provenance"]["source"]) == (True, "张三", "UPSTREAM")
    shown = await _in_thread(_run, ready, "call", INTERFACE, "resident_id=-", *_calling(ready), stdin=f"{WHO}\n")
    assert "张三" in shown.stdout
    assert "source=CACHE" in shown.stdout


async def test_a_call_that_fails_says_why_and_has_its_own_code(ready: RunningBroker) -> None:
    error = (await _in_thread(_json, ready, "call", INTERFACE, "resident_id=x", *_calling(ready), code=10))["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert list(error["violations"]) == ["arguments.resident_id"]
    shown = await _in_thread(_run, ready, "call", "no.such", *_calling(ready))
    assert (shown.returncode, shown.stdout) == (10, "")
    assert "GRANT_MISSING" in shown.stderr


async def test_status_and_purge(ready: RunningBroker) -> None:
    await _in_thread(_json, ready, "call", INTERFACE, f"resident_id={WHO}", *_calling(ready))
    status = await _in_thread(_json, ready, "status")
    assert (status["interfaces"], status["grants"], status["cache"]["entries"]) == (1, 1, "1")
    assert (await _in_thread(_json, ready, "cache", "purge", "--subject", stdin=f" {WHO}\n")) == {"removed": 1}
    assert (await _in_thread(_json, ready, "cache", "purge", "--interface", INTERFACE)) == {"removed": 0}
    assert (await _in_thread(_run, ready, "cache", "purge")).returncode == 2


async def test_purge_by_question_reads_values_as_call_does(ready: RunningBroker) -> None:
    await _in_thread(_json, ready, "call", INTERFACE, f"resident_id={WHO}", *_calling(ready))
    other = ("cache", "purge", "--question", INTERFACE, f"resident_id={resident_id(2)}")
    assert (await _in_thread(_json, ready, *other)) == {"removed": 0}
    asked = ("cache", "purge", "--question", INTERFACE, "resident_id=-")
    assert (await _in_thread(_json, ready, *asked, stdin=f"{WHO}\n")) == {"removed": 1}
    assert (await _in_thread(_run, ready, "cache", "purge", "--question", "no.such")).returncode == 3
    assert (await _in_thread(_run, ready, *asked[:-1], "resident_id")).returncode == 2
    assert (await _in_thread(_run, ready, *asked, "--all")).returncode == 2
    assert (await _in_thread(_run, ready, "cache", "purge", "--all", "resident_id=1")).returncode == 2


def test_without_a_broker_commands_say_so(tmp_path: Path) -> None:
    done = _run(RunningBroker(tmp_path), "status")
    assert (done.returncode, done.stderr.count("\n")) == (9, 1)
    assert "broker serve" in done.stderr


def test_config_commands(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    assert _json(broker, "config", "show")["grpc"]["address"] == broker.target
    assert "Cache" in _json(broker, "config", "schema")["$defs"]
    (tmp_path / "good.toml").write_text("[cache]\nmap_size_mib = 64\n")
    assert _json(broker, "config", "check", str(tmp_path / "good.toml"))["ok"]
    (tmp_path / "bad.toml").write_text("[cache]\nmapsize = 64\n")
    done = _run(broker, "config", "check", str(tmp_path / "bad.toml"))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "bad.toml" in done.stderr
    assert "mapsize" in done.stderr


def test_catalogue_commands(tmp_path: Path) -> None:
    broker, directory = RunningBroker(tmp_path), tmp_path / "catalogue"
    directory.mkdir()
    (directory / "all.toml").write_text(GOOD)
    assert _json(broker, "catalogue", "check", str(directory))["grants"] == 1
    assert _json(broker, "catalogue", "diff", str(directory))["difference"]["added"]["grants"] == ["g1"]
    assert _json(broker, "catalogue", "apply", str(directory))["version"] == 1
    assert _run(broker, "catalogue", "diff", str(directory)).stdout == "no difference\n"
    (directory / "all.toml").write_text(
        GOOD.replace('level = "NATIONAL"', "level = 1").replace('fields = ["name"]', "fields = 1")
    )
    done = _run(broker, "catalogue", "apply", str(directory))
    assert done.returncode == 8
    assert [line for line in done.stderr.splitlines() if "all.toml" in line][:2] == done.stderr.splitlines()[1:3]
    (directory / "all.toml").write_text(GOOD)
    assert _json(broker, "catalogue", "apply", str(directory))["version"] == 1, "the broken one changed nothing"


def test_grant_add_writes_a_file_and_undoes_it_when_it_is_wrong(tmp_path: Path) -> None:
    broker, directory = RunningBroker(tmp_path), tmp_path / "catalogue"
    directory.mkdir()
    (directory / "all.toml").write_text(GOOD)
    terms = ("grant", "add", str(directory), "--consumer", "tax-hall", "--interface", INTERFACE, "--until", "2090-01-01")
    added = _json(broker, *terms, "--purpose", "loan-check", "--field", "name")
    assert Path(added["file"]).exists()
    assert _json(broker, "catalogue", "check", str(directory))["grants"] == 2
    before = sorted(directory.iterdir())
    done = _run(broker, *terms, "--purpose", "other", "--field", "salary")
    assert done.returncode == 8
    assert "salary" in done.stderr
    assert sorted(directory.iterdir()) == before
    assert _run(broker, *terms, "--purpose", "loan-check", "--field", "name").returncode == 8, "never overwritten"


def test_a_grant_for_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    terms = ("--consumer", "tax-hall", "--interface", INTERFACE, "--until", "2090-01-01", "--purpose", "a/b", "--field", "name")
    done = _run(RunningBroker(tmp_path), "grant", "add", str(tmp_path / "nowhere"), *terms)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "nowhere" in done.stderr


def test_a_purpose_with_a_slash_can_be_granted(tmp_path: Path) -> None:
    broker, directory = RunningBroker(tmp_path), tmp_path / "catalogue"
    directory.mkdir()
    (directory / "all.toml").write_text(GOOD)
    terms = ("--consumer", "tax-hall", "--interface", INTERFACE, "--until", "2090-01-01", "--purpose", "a/b", "--field", "name")
    assert Path(_json(broker, "grant", "add", str(directory), *terms)["file"]).parent == directory


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("sqlite:///{directory}/control.db?timeout=0.1", 5),
        ("nonsense://a/b", 3),
        ("mysql+pymysql://a/b", 3),
        ("postgresql+psycopg://a:port/b", 3),
        ("postgresql+psycopg://a:TOP@b/c", 3),
        ("postgresql+psycopg://broker@127.0.0.1:1/b", 5),
    ],
)
def test_a_control_plane_that_cannot_be_used_is_one_line(tmp_path: Path, url: str, code: int) -> None:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "all.toml").write_text(GOOD)
    broker = RunningBroker(tmp_path, BROKER__CONTROL__URL=url.format(directory=tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "control.db")) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")
        done = _run(broker, "catalogue", "apply", str(tmp_path / "catalogue"))
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert "control.url" in done.stderr
    assert "TOP" not in done.stderr


def test_consumer_commands(tmp_path: Path) -> None:
    broker, key = RunningBroker(tmp_path), tmp_path / "new.key"
    public = _json(broker, "consumer", "new-key", str(key))["public_key"]
    assert len(public) == 44
    token = _json(broker, "consumer", "issue-token", CONSUMER, "--key-file", str(key), "--life-s", "60")["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["exp"] - claims["iat"]) == (CONSUMER, 60)
    assert _run(broker, "consumer", "new-key", str(key)).returncode == 3
    key.chmod(0o600)
    key.write_text("nothing")
    done = _run(broker, "consumer", "issue-token", CONSUMER, "--key-file", str(key))
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)


def test_version_and_help(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    assert _run(broker, "--version").stdout.startswith("broker 0.")
    assert "Commands" in _run(broker, "--help").stdout

"""A running core and what is around its log: witnesses, the disk, and a log that was put back.

What must not go in here: what signers and witnesses do by themselves (test_audit_checkpoints.py, test_audit_witnesses.py).
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog.testing

from broker import config
from broker.audit.disk import DiskAlarm
from broker.client import AsyncClient
from broker.errors import AuditRefused, AuditRolledBack
from broker.serve.audit_log import AuditLog
from broker.serve.core import Core
from broker.serve.witnessing import held_elsewhere
from tests.support.audit_log import small_log
from tests.support.calling import WHO, ask, put
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

GIB = 1 << 30


class Endpoint:
    """A witness over HTTP, in a thread of its own."""

    def __init__(self) -> None:
        kept = self.kept = []  # type: list[str]
        self.status = 200
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200 if kept else 404, kept[-1] if kept else "")

            def do_POST(self) -> None:
                note = self.rfile.read(int(self.headers["content-length"])).decode()
                if told.status == 200:
                    kept.append(note)
                self._answer(told.status, "")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/notes"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
async def client(watched: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    register.add(WHO, "张三")
    await put(watched, register)
    async with watched.client() as client:
        yield client


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Iterator[RunningBroker]:
    directory = tmp_path_factory.mktemp("w")
    settings = {
        "BROKER__AUDIT__MODE": "durable",
        "BROKER__GRPC__FRONTS": "0",
    }
    witnesses = f'[audit]\nwitness_urls = ["{endpoint.url}"]\nwitness_files = ["{directory}/elsewhere/audit.notes"]\n'
    (directory / "elsewhere").mkdir()
    broker = RunningBroker(directory, witnesses, **settings)
    broker.start()
    yield broker
    broker.kill()


def serial(note: str) -> int:
    return int(re.search(r"^serial (\d+)$", note, re.MULTILINE)[1])  # type: ignore[index]


def in_file(broker: RunningBroker) -> list[str]:
    file = broker.directory / "elsewhere" / "audit.notes"
    return file.read_text().split("---\n") if file.exists() else []


def metric(broker: RunningBroker, name: str) -> float:
    return float(next(line for line in broker.metrics().splitlines() if line.startswith(name)).rpartition(" ")[2])


def warned(broker: RunningBroker, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in broker.log_file.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith(event)]


async def test_a_running_core_has_its_checkpoints_kept_elsewhere(
    watched: RunningBroker, client: AsyncClient, endpoint: Endpoint
) -> None:
    await ask(client)
    wait_until(lambda: endpoint.kept and in_file(watched)[-1:] == endpoint.kept[-1:])
    endpoint.status = 503
    before = serial(endpoint.kept[-1])
    await ask(client)
    name = f'broker_audit_witness_behind_seconds{{witness="{endpoint.url}"}}'
    wait_until(lambda: metric(watched, name) > 0 and serial(in_file(watched)[-1]) > before)  # none delays another
    endpoint.status = 200
    other = f'broker_audit_witness_behind_seconds{{witness="{watched.directory}'
    wait_until(lambda: metric(watched, other) == 0)
    wait_until(lambda: metric(watched, "broker_audit_checkpoint_serial") >= serial(in_file(watched)[-1]))
    assert warned(watched, "a witness does not take a checkpoint")
    told = await asyncio.to_thread(watched.run_here, *watched.command("audit", "verify", "--json")[3:])
    assert (told.returncode, json.loads(told.stdout)["witnesses_missed"]) == (0, []), told.stderr
    usage = shutil.disk_usage(watched.directory / "data" / "audit")
    assert metric(watched, "broker_audit_disk_used_ratio") == pytest.approx(usage.used / (usage.used + usage.free), abs=0.05)
    assert metric(watched, "broker_audit_disk_free_bytes") > 0


async def test_a_log_that_was_put_back_is_not_served(watched: RunningBroker, client: AsyncClient, endpoint: Endpoint) -> None:
    log, copy = watched.directory / "data" / "audit", watched.directory / "copy"
    await ask(client)
    wait_until(lambda: in_file(watched))
    shutil.copytree(log / "checkpoints", copy / "checkpoints")  # first: so the copied streams have all that they say
    shutil.copytree(log, copy, dirs_exist_ok=True, ignore=lambda _, names: {"checkpoints", "usage"} & {*names})
    signed = serial(in_file(watched)[-1])
    await ask(client)
    wait_until(lambda: serial(in_file(watched)[-1]) > signed and endpoint.kept[-1:] == in_file(watched)[-1:])
    watched.kill()
    newest = in_file(watched)[-1]

    shutil.rmtree(log)
    copy.rename(log)
    files = sorted(log.rglob("*.audit"))
    command = [sys.executable, "-m", "broker.serve.core", *watched.command()[3:]]  # without a supervisor: it starts sooner
    environment = os.environ | watched.environment
    done = subprocess.run(command, env=environment, input="go\n0\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == AuditRolledBack.exit_code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("broker: "))
    assert line.startswith(f"broker: a witness has checkpoint {serial(newest)}, here is ")
    assert sorted(log.rglob("*.audit")) == files, "nothing was written into it"
    told = await asyncio.to_thread(watched.run_here, *watched.command("audit", "verify", "--json")[3:])
    assert told.returncode == AuditRefused.exit_code
    faults = json.loads(told.stdout)["faults"]
    assert sum("a witness has checkpoint" in fault for fault in faults) == 2, "by the file, and by the endpoint"
    assert sum("are missing" in fault for fault in faults) == len(faults) - 2, "of which the last question may be one"

    settings = watched.config
    held = await held_elsewhere(settings)
    assert held == {endpoint.url: endpoint.kept[-1], str(watched.directory / "elsewhere" / "audit.notes"): newest}
    for gone in log, watched.directory / "data" / "cache":  # all of it, its key too
        shutil.rmtree(gone)
    with pytest.raises(AuditRolledBack):
        AuditLog(settings, held)
    endpoint.close()  # who cannot be asked keeps nobody from starting
    (watched.directory / "elsewhere" / "audit.notes").unlink()
    with structlog.testing.capture_logs() as lines:
        held = await held_elsewhere(settings)
    assert held == {str(watched.directory / "elsewhere" / "audit.notes"): ""}
    assert [line["event"] for line in lines] == ["what a witness has cannot be compared"]
    log_ = AuditLog(settings, held)
    async with log_.open():
        assert log_.stream is not None
        assert log_.stream.is_open


async def test_a_log_that_cannot_be_compared_at_the_start_is_served_until_it_turns_out_to_be_another(tmp_path: Path) -> None:
    settings = config.load(None, {"BROKER__DATA_DIR": str(tmp_path), "BROKER__AUDIT__MODE": "durable"})
    (tmp_path / "audit").mkdir()
    in_the_way = tmp_path / "audit" / "checkpoints"  # as a disk that is full is
    in_the_way.touch()
    others = small_log(tmp_path / "other").notes[-1]
    log, stopped = AuditLog(settings, {"a witness": others}), asyncio.Event()
    async with log.open():
        keeping = asyncio.create_task(next(log.chores(stopped.set)))
        assert log.stream is not None
        await log.stream.record(consumer="while nobody can sign")
        assert not stopped.is_set()
        in_the_way.unlink()
        async with asyncio.timeout(20):
            await stopped.wait()
        keeping.cancel()


async def test_auditors_are_answered_on_loopback_only(tmp_path: Path) -> None:
    exposed = {"BROKER__ADMIN__HTTP_ADDRESS": "0.0.0.0:9464", "BROKER__ADMIN__EXPOSED": "true"}
    for more, count in ({}, 3), (exposed, 0):
        settings = config.load(None, {"BROKER__DATA_DIR": str(tmp_path), "BROKER__AUDIT__MODE": "durable"} | more)
        core = Core(settings, 0)
        async with core._audit.open():
            assert len(core._audit.routes(core._exchange)) == count
        await core._close()


def test_a_disk_that_fills_is_told_of_once_a_level_and_again_after_it_fell(tmp_path: Path) -> None:
    used = [50.0]
    alarm = DiskAlarm(tmp_path, lambda _: (120 * GIB, int(used[0] * GIB), int((100 - used[0]) * GIB)))
    told = []
    with structlog.testing.capture_logs() as lines:
        for used[0] in (50, 79.9, 80, 81, 79.5, 80, 91, 91, 96, 78, 95):
            before = len(lines)
            alarm.look()
            told.append([(line["event"], line["level"]) for line in lines[before:]])
    full, fell = "audit_disk_fills", "audit_disk_fell"
    expected = [[], [], [(full, 0.8)], [], [], [], [(full, 0.9)], [], [(full, 0.95)], [(fell, 0.8), (fell, 0.9), (fell, 0.95)]]
    assert told == [*expected, [(full, 0.8), (full, 0.9), (full, 0.95)]]

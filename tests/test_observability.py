"""What monitoring sees, checked by Prometheus' own tools; and that no personal data is in any of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from broker.client import AsyncClient, CallFailed
from broker.client.credentials import TokenSource, generate_key
from tests.support.catalogue import INTERFACE, PURPOSE, catalogue, consumer, grant, interface
from tests.support.people import resident_id
from tests.support.ports import free_port
from tests.support.provider import Register
from tests.support.running import RunningBroker

WHO, NOBODY = resident_id(1), resident_id(998)
needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus") or not shutil.which("promtool"),
    reason="prometheus is not installed (apt-get install prometheus)",
)


async def _traffic(broker: RunningBroker, register: Register) -> None:
    """Every kind of answer and refusal once."""
    register.add(WHO, "张三")
    await broker.put(catalogue(register.base_url, broker.public_key))
    await broker.purge(all=True)
    async with broker.client() as client:
        for arguments, purpose in (
            ({"resident_id": WHO}, PURPOSE),
            ({"resident_id": WHO}, PURPOSE),
            ({"resident_id": NOBODY}, PURPOSE),
            ({"resident_id": "bad"}, PURPOSE),
            ({"resident_id": WHO}, "other"),
        ):
            with contextlib.suppress(CallFailed):
                await client.call(INTERFACE, arguments, purpose=purpose)
        with contextlib.suppress(CallFailed):
            await client.call("national.no.such", {}, purpose=PURPOSE)


def _samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_calls_are_counted_by_level_interface_outcome_and_source(broker: RunningBroker, register: Register) -> None:
    before = _samples(broker.metrics())
    await _traffic(broker, register)
    after = _samples(broker.metrics())

    def grown(name: str, labels: str) -> float:
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    known = f"interface={INTERFACE},level=NATIONAL"
    for outcome, source in (("FOUND", "UPSTREAM"), ("FOUND", "CACHE"), ("NOT_FOUND", "UPSTREAM"), ("INVALID_REQUEST", "NONE")):
        assert grown("broker_calls_total", f"{known},outcome={outcome},source={source}") == 1
    assert grown("broker_calls_total", "interface=unknown,level=UNKNOWN,outcome=GRANT_MISSING,source=NONE") == 1
    method = "grpc_method=Call,grpc_service=broker.v1.ExchangeService,grpc_type=unary"
    assert grown("grpc_server_started_total", method) == 6
    for code, count in (("OK", 3), ("INVALID_ARGUMENT", 1), ("PERMISSION_DENIED", 2)):
        assert grown("grpc_server_handled_total", f"grpc_code={code},{method}") == count
    assert grown("grpc_server_handling_seconds_count", method) + grown("broker_front_handling_seconds_count", "") == 6
    assert (grown("grpc_server_msg_received_total", method), grown("grpc_server_msg_sent_total", method)) == (6, 3)
    assert grown("broker_upstream_seconds_count", "outcome=FOUND,provider=national.police") == 1
    assert after["broker_cache_entries", ""] == 2


async def test_label_sets_are_bounded_whatever_is_asked(broker: RunningBroker, register: Register) -> None:
    await _traffic(broker, register)
    before = len(_samples(broker.metrics()))
    async with broker.client() as client:
        for number in range(200):
            with contextlib.suppress(CallFailed):
                await client.call(f"x{number}", {f"a{number}": ""}, purpose=f"p{number}")
    assert len(_samples(broker.metrics())) == before


async def test_the_probes(broker: RunningBroker) -> None:
    for path in ("livez", "readyz"):
        assert urllib.request.urlopen(f"http://{broker.admin}/{path}").status == 200


@needs_prometheus
async def test_promtool_finds_nothing_to_mend(broker: RunningBroker, register: Register) -> None:
    await _traffic(broker, register)
    done = subprocess.run(["promtool", "check", "metrics"], input=broker.metrics(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_prometheus
async def test_a_real_prometheus_scrapes_and_answers(broker: RunningBroker, register: Register, tmp_path: Path) -> None:
    await _traffic(broker, register)
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\nscrape_configs:\n- job_name: broker\n"
        f"  static_configs: [{{targets: ['{broker.admin}']}}]\n"
    )
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--web.listen-address={address}"]
    process = subprocess.Popen([*command, f"--storage.tsdb.path={tmp_path}/tsdb"], stderr=subprocess.DEVNULL)
    try:
        query = f'broker_calls_total{{interface="{INTERFACE}",source="CACHE",outcome="FOUND"}}'
        found = await asyncio.to_thread(_query_until_answered, address, query)
    finally:
        process.terminate()
        process.wait()
    assert float(found[0]["value"][1]) >= 1


def _query_until_answered(address: str, query: str) -> list[dict]:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            url = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
            found = json.loads(urllib.request.urlopen(url, timeout=2).read())["data"]["result"]
            if found:
                return list(found)
        time.sleep(0.1)
    raise AssertionError("prometheus did not see the metric")


async def _upset(register: Register, who: str) -> web.Response:
    return web.json_response({"code": "9999", "message": f"{register.people[who]['XM']} {who}"})


async def _wrong_types(register: Register, who: str) -> web.Response:
    return web.json_response({"code": "0", "data": {"GMSFHM": who, "XM": ["标记甲乙丙"], "CSRQ": register.people[who]["XM"]}})


async def test_nothing_personal_leaves_but_in_the_answer(tmp_path_factory: pytest.TempPathFactory, register: Register) -> None:
    """Markers in every argument and every field, granted or not: looked for in logs, metrics, errors and others' cache."""
    own = RunningBroker(tmp_path_factory.mktemp("p"))
    own.start()
    name, status, key = "标记甲乙丙", "标记丁戊己", own.directory / "narrow.key"
    register.add(WHO, name, ZT=status)
    consumers = (consumer(own.public_key), consumer(generate_key(key), id="narrow"))
    grants = (grant(fields=["birth_date"]), grant(id="g2", consumer="narrow", fields=["birth_date"], matters=["M"]))
    await own.put(catalogue(register.base_url, own.public_key, consumers=consumers, grants=grants, interfaces=(interface(),)))
    said: list[str] = []
    async with own.client() as client, AsyncClient(own.target, TokenSource("narrow", key)) as narrow:
        answers = [await client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE) for _ in range(2)]
        said.append(str(answers))
        for behaviour in (_upset, _wrong_types, None):
            register.behaviour = behaviour
            for asking, arguments in (
                (client, {"resident_id": WHO}),
                (client, {"resident_id": WHO + "标记"}),
                (client, {"resident_id": WHO, WHO: WHO}),
                (client, {"resident_id": WHO, "extra": name}),
                (narrow, {"resident_id": WHO}),
            ):
                try:
                    await asking.call(INTERFACE, arguments, purpose=PURPOSE, max_age_s=0, operator=name, case_id=status)
                except CallFailed as failure:
                    said.append(f"{failure} {failure.violations} {failure.metadata}")
    metrics = own.metrics()
    assert own.stop() == 0
    cache = (own.directory / "data" / "cache" / "data.mdb").read_bytes()
    for marker in (name, status, WHO):
        assert marker not in metrics
        assert marker not in own.log_file.read_text()
        assert marker not in "".join(said)
    for ungranted in (name, status, json.dumps(name)[1:-1]):
        assert ungranted.encode() not in cache, "the cache holds what was granted and nothing else"
    assert b"1980-01-01" in cache, "the scan can find what is there"


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")  # noqa: PTH110
async def test_secrets_are_not_in_the_environment_or_arguments_of_the_processes(broker: RunningBroker) -> None:
    secret = broker.key_file.read_text().splitlines()[1]
    for name in ("environ", "cmdline"):
        assert secret.encode() not in Path(f"/proc/{broker.core_pid()}/{name}").read_bytes()

"""The core process: one event loop that serves every method, asks the providers, and alone writes the cache.

Started by the supervisor as ``python -m broker.serve.core``. It does its imports, waits for "go" on standard input (so that it
can stand by as a spare), serves, and says so on the descriptor it was given. SIGTERM: tells health NOT_SERVING, serves on for
`grpc.drain_ms`, refuses new calls, waits for those in progress, ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import structlog
import uvloop
from grpc_health.v1 import health_pb2

from broker import __version__, config
from broker.cache.store import CacheStore
from broker.errors import StartupError
from broker.exchange import Exchange
from broker.key_file import open_key
from broker.policy.clock import Clock
from broker.policy.compiler import EMPTY
from broker.policy.counter_file import CounterFile
from broker.policy.database import open_database
from broker.policy.identify import Identifier
from broker.policy.mounts import MountStates
from broker.policy.quota import Quotas
from broker.policy.spend import Limits
from broker.policy.store import ControlPlane
from broker.records.search import Searches
from broker.records.store import Bases
from broker.serve.admin_http import AdminHttp
from broker.serve.announce import Announcer
from broker.serve.audit_log import AuditLog
from broker.serve.chores import expire_grants, forget_subjects, let_go_of_bases, load_searchers
from broker.serve.core_address import READY_FD
from broker.serve.front_counts import FrontCounts
from broker.serve.gate import Gate
from broker.serve.probes import MountProbes
from broker.serve.server import admin_server, public_server, service_names
from broker.serve.tls import open_tls
from broker.serve.watch import SnapshotWatch
from broker.serve.witnessing import held_elsewhere
from broker.services.admin_service import AdminService, Operations
from broker.services.catalogue_service import CatalogueService
from broker.services.exchange_service import ExchangeService
from broker.services.grant_service import GrantService
from broker.services.refused import Refused
from broker.telemetry import log as logs
from broker.telemetry import metrics
from broker.upstream.providers import Providers

log = structlog.get_logger("core")

_OPERATORS_GRACE_S = 1.0  # for what operators ask while the process ends; a Drain among them returns by itself


class Core:
    """What runs between start and stop."""

    def __init__(self, settings: config.Config, restarts: int, held: Mapping[str, str] = {}) -> None:
        self._settings = settings
        self._restarts = restarts
        self._stop = asyncio.Event()
        self._serving = False
        self._gate = Gate()
        self._control = ControlPlane(open_database(settings, at_once=False))
        bases = Bases(settings)
        self._audit = AuditLog(settings, held)
        self._exchange = Exchange(
            config=settings,
            cache=CacheStore(settings.path("{data_dir}"), settings.cache),
            identifier=Identifier(settings.identity, settings.limits.max_token_bytes),
            limits=_limits(settings, self._control),
            providers=Providers(settings),
            bases=bases,
            searches=Searches(bases),
            snapshot=EMPTY,
            audit=self._audit.accesses,
            clock=Clock(settings.path("{data_dir}/clock"), settings.identity.clock_skew_s * 1000),
        )
        self._tls = open_tls(settings, self._exchange.identifier)
        self._announcer = Announcer(self._exchange, settings.path("{data_dir}"))
        self._audit.on_hold = self._announcer.hold
        if self._tls:
            self._tls.on_trust, self._tls.before = self._announcer.tell, self._audit.ledger.in_force

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # Nothing more is written to standard input: it becomes readable when the supervisor has gone, however it went.
        loop.add_reader(sys.stdin.fileno(), self._on_orphaned)
        file = self._settings.path("{data_dir}/policy.snapshot")
        watch = SnapshotWatch(self._exchange, self._control, file, self._tell, self._audit.ledger)
        async with self._audit.open():
            await self._audit.begin(self._tls.fingerprints() if self._tls else {})
            await watch.start()
            self._announcer.begin()
            self._probes = MountProbes(self._exchange, MountStates(self._control.database))
            await self._serve(watch)
        self._control.close()

    def _tell(self) -> None:
        """Another snapshot is in force."""
        self._audit.follow(self._exchange.snapshot.version)
        self._announcer.tell()

    def _ready(self) -> bool:
        """Whether consumers' calls get here."""
        return self._serving and self._announcer.serving() >= min(1, self._settings.grpc.fronts)

    def _on_orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        log.error("the supervisor has gone; stopping")
        self._stop.set()

    async def _serve(self, watch: SnapshotWatch) -> None:
        refused = Refused(self._exchange)
        self._server, self._health = public_server(self._settings, self._for_consumers(watch), self._gate, self._tls, refused)
        admin = admin_server(self._settings, self._for_operators(watch), Refused(self._exchange, known=False))
        counts, more = FrontCounts(self._settings.path("{data_dir}")), self._audit.routes(self._exchange)
        page = AdminHttp(self._exchange.cache, self._ready, counts, more)
        await page.start(self._settings.admin.http_address)
        await admin.start()
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        chores = [asyncio.create_task(chore) for chore in self._chores(watch)]
        self._say_ready()
        await self._stop.wait()
        await self._drain(None)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await admin.stop(_OPERATORS_GRACE_S)
        await page.stop()
        await self._close()

    async def _reload(self, watch: SnapshotWatch) -> int:
        """Bring the snapshot up to date, in the fronts too."""
        version = await watch.reload()
        await self._announcer.followed()
        return version

    def _for_consumers(self, watch: SnapshotWatch) -> dict[str, object]:
        reload = functools.partial(self._reload, watch)
        return {
            "ExchangeService": ExchangeService(self._exchange),
            "CatalogueService": CatalogueService(self._exchange, self._probes.report),
            "GrantService": GrantService(self._exchange, self._control.database, reload),
            **self._audit.services(self._exchange),
        }

    def _for_operators(self, watch: SnapshotWatch) -> dict[str, object]:
        reload = functools.partial(self._reload, watch)
        return {
            "AdminService": AdminService(self._exchange, self._operations(reload), self._audit.ledger),
            "CatalogueService": CatalogueService(self._exchange, self._probes.report, known=False),
            "GrantService": GrantService(self._exchange, self._control.database, reload, known=False),
            **self._audit.services(self._exchange, known=False),
        }

    def _chores(self, watch: SnapshotWatch) -> Iterator[Coroutine[Any, Any, None]]:
        yield watch.run()
        yield self._announcer.keep_alive()
        yield self._keep_cache()
        yield self._probes.run()
        yield expire_grants(self._exchange, self._control.database)
        yield forget_subjects(self._exchange)
        yield load_searchers(self._exchange)
        yield let_go_of_bases(self._exchange)
        yield from self._audit.chores(self._stop.set)
        if self._tls:
            yield self._tls.run()

    def _operations(self, reload: Callable[[], Awaitable[int]]) -> Operations:
        return Operations(
            reload=reload,
            drain=self._drain,
            draining=lambda: not self._serving,
            in_progress=lambda: self._gate.in_progress,
            started_at_ms=time.time_ns() // 1_000_000,
            restarts=self._restarts,
        )

    def _say_ready(self) -> None:
        metrics.build.info({"version": __version__})
        metrics.worker_restarts.labels("core").set(self._restarts)
        self._serving = True
        gc.collect()
        gc.freeze()  # what start-up made stays; the collector need not walk it again and again
        log.info("serving", grpc=self._settings.grpc.address, admin=self._settings.admin.http_address, version=__version__)
        if READY_FD in os.environ:
            with contextlib.suppress(BrokenPipeError):  # the supervisor has gone; standard input tells that too
                os.write(int(os.environ[READY_FD]), b"1")

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in service_names():
            await self._health.set(name, status)

    async def _drain(self, timeout_s: float | None) -> int:
        """Leave the balancers' lists, then let no new call in and those in progress end; returns how many are left."""
        self._serving = False
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(self._settings.grpc.drain_ms / 1000)
        self._gate.close()
        self._announcer.drain()
        return await self._gate.emptied(self._settings.grpc.grace_ms / 1000 if timeout_s is None else timeout_s)

    async def _keep_cache(self) -> None:
        """Let go of what has ended and of readers that died. Whatever goes wrong is tried again; nobody awaits this."""
        cache, pause_s = self._exchange.cache, 1.0
        checked = time.monotonic()
        while True:
            await asyncio.sleep(pause_s)
            pause_s = 1.0
            try:
                if cache.sweep(self._exchange.clock().wall_ms):
                    pause_s = 0.01  # go on at once while there is more
                if time.monotonic() - checked >= self._settings.cache.reader_check_s:
                    checked = time.monotonic()
                    cache.check_readers()
            except Exception as error:
                log.error("the cache could not be kept", error=type(error).__name__)

    async def _close(self) -> None:
        await self._exchange.flights.drain()
        await self._exchange.providers.close()
        self._exchange.limits.close()
        self._exchange.searches.close()
        self._exchange.bases.close()
        self._exchange.cache.close()


def _limits(settings: config.Config, control: ControlPlane) -> Limits:
    key = open_key(settings.path(settings.policy.subject_key_file), "policy.subject_key_file")
    return Limits(CounterFile(settings.path("{data_dir}/counters")), Quotas(control.database), key)


def _wait_for_go() -> int:
    """Return the number of restarts so far, or end quietly if the supervisor went away."""
    if sys.stdin.readline() != "go\n":
        raise SystemExit(0)
    return int(sys.stdin.readline() or 0)


def main() -> NoReturn:
    """Run a core process."""
    parser = argparse.ArgumentParser(prog="broker.serve.core")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json-logs", action="store_true")
    arguments = parser.parse_args()
    restarts = _wait_for_go()
    try:
        settings = config.load(arguments.config)
        logs.configure(settings.log, force_json=arguments.json_logs)
        uvloop.run(_run(settings, restarts))
    except StartupError as error:
        print(f"broker: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person reads
        raise SystemExit(error.exit_code) from None


async def _run(settings: config.Config, restarts: int) -> NoReturn:
    """Run a core and end the process.

    The consumers' server is not stopped: calls that reach a stopped server before its clients know are CANCELLED, which no
    client tries again. A connection that closes with its process is UNAVAILABLE, which every one does.
    """
    held = {} if settings.audit.mode == "off" else await held_elsewhere(settings)
    core = Core(settings, restarts, held)
    await core.run()
    os._exit(0)  # at once, for Python's own way out cancels what the server has in hand


if __name__ == "__main__":
    main()

"""The admin page, on loopback: /metrics, /livez, /readyz for monitoring, without personal data; and what auditors ask.

/livez says that the process runs its event loop; /readyz that it takes calls (503 while starting and while draining). What must
not go in here: what auditors are told (usage_page.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.cache.store import CacheStore
from broker.errors import PortTaken
from broker.serve.front_counts import FrontCounts
from broker.telemetry import metrics

_MOST_BODY_BYTES = 65_536


class _CacheCollector(Collector):
    """Tells the state of the cache when asked, instead of keeping gauges in step with it."""

    def __init__(self, cache: CacheStore) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Give the cache's metrics."""
        stat, cache = self._cache.stat(), self._cache
        yield GaugeMetricFamily("broker_cache_entries", "Answers in the cache.", value=stat.entries)
        yield GaugeMetricFamily("broker_cache_used_bytes", "Bytes of the cache map in use.", value=stat.used_bytes)
        yield GaugeMetricFamily("broker_cache_map_bytes", "Size of the cache map in bytes.", value=stat.map_bytes)
        removed = CounterMetricFamily("broker_cache_removed", "Answers removed from the cache.", labels=["cause"])
        for cause, count in (("ENDED", cache.ended), ("EVICTED", cache.evicted), ("PURGED", cache.purged)):
            removed.add_metric([cause], count)
        yield removed
        faults = CounterMetricFamily("broker_cache_faults", "Reads and writes that did not work.", labels=["kind"])
        for kind, count in (("DAMAGED", cache.damaged), ("FAILED", cache.failures), ("UNWRITTEN", cache.unwritten)):
            faults.add_metric([kind], count)
        yield faults


class AdminHttp:
    """Serves the admin page."""

    def __init__(
        self, cache: CacheStore, ready: Callable[[], bool], fronts: FrontCounts, more: Iterable[web.RouteDef] = ()
    ) -> None:
        metrics.registry.register(_CacheCollector(cache))
        metrics.registry.register(fronts)
        self._ready = ready
        self._fronts = fronts
        application = web.Application(client_max_size=_MOST_BODY_BYTES)
        application.add_routes(
            [web.get("/metrics", self._metrics), web.get("/livez", self._livez), web.get("/readyz", self._readyz), *more]
        )
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None)

    async def start(self, address: str) -> None:
        """Listen on host:port.

        Raises:
            PortTaken: it is in use or not allowed.
        """
        host, _, port = address.rpartition(":")
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port), shutdown_timeout=1).start()
        except OSError as error:
            raise PortTaken(f"admin.http_address: cannot listen on {address} ({error.strerror})") from error

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        self._fronts.absorb()
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.Response(text="ok\n" if ready else "not ready\n", status=200 if ready else 503)

"""Steps of the tour about the catalogue: which of its resources have a working interface. Nothing else goes in here."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from broker.demo.interfaces import QUESTIONS
from broker.demo.resources import COUNT
from broker.demo.step import Step, Visitor, check
from broker.v1.catalogue_pb2 import GetMountReportRequest, GetMountReportResponse, ListResourcesRequest
from broker.v1.catalogue_pb2_grpc import CatalogueServiceStub

_LONGEST_S = 20  # until the broker has probed everything once


async def mount_report(visitor: Visitor) -> Step:
    """The broker knows which resources have an interface, and has found out by itself which of these answer."""
    config = visitor.demo.config
    async with grpc.aio.insecure_channel(f"unix:{config.path(config.admin.socket)}") as channel:
        stub: Any = CatalogueServiceStub(channel)  # typed for blocking channels only
        await stub.ListResources(ListResourcesRequest(page_size=COUNT))  # the first puts the list together
        began = time.perf_counter()
        listed = await stub.ListResources(ListResourcesRequest(page_size=COUNT))
        elapsed_ms = (time.perf_counter() - began) * 1000
        report = await _probed(stub)
    check(len(listed.resources) == COUNT, f"all {COUNT} resources must be listed")
    check(report.mounted == len(QUESTIONS), "every interface must be mounted on a resource")
    check(report.reachable > 0, "what is running must be found to be")
    return Step(
        title=f"{COUNT} resources: which have an interface?",
        result=f"{report.mounted} of {report.resources}",
        time_ms=elapsed_ms,
        notes=(
            f"{report.rate:.1%} mounted, {report.reachable} reachable when probed, {len(report.unmounted)} without one that "
            f"works; {len(report.providers)} departments; time to list all {COUNT}",
        ),
    )


async def _probed(stub: Any) -> GetMountReportResponse:
    """Return the report once everything has been probed."""
    async with asyncio.timeout(_LONGEST_S):
        while True:
            report: GetMountReportResponse = await stub.GetMountReport(GetMountReportRequest())
            if report.HasField("probed_at"):
                return report
            await asyncio.sleep(0.1)

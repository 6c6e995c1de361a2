"""`broker catalogue mounts`: which resources have a working interface; which have not, whose they are, why and since when."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict

from broker.cli.output import ConfigFile, Json, emit, load_config, say, table
from broker.client.failures import decode
from broker.config import Config
from broker.errors import BrokerUnreachable, ConfigurationError
from broker.v1 import catalogue_pb2 as pb
from broker.v1.catalogue_pb2_grpc import CatalogueServiceStub

Provider = Annotated[str, typer.Option(help="Only this provider's.")]
Unmounted = Annotated[bool, typer.Option("--unmounted", help="List every resource without a working interface.")]


def mounts(provider: Provider = "", unmounted: Unmounted = False, file: ConfigFile = None, json: Json = False) -> None:
    """Report which resources of the catalogue in force have a working interface."""
    report = _ask(load_config(file), provider)
    if json:
        emit(MessageToDict(report, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
        return
    probed = _time(report.probed_at) if report.HasField("probed_at") else "not all yet"
    say(
        f"{report.mounted} of {report.resources} resources mounted ({report.rate:.1%}), {report.reachable} reachable, "
        f"{report.schema_matching} answering by their schema; probed {probed}"
    )
    if unmounted:
        table(
            ("code", "resource", "provider", "reason", "since"),
            [(one.code, one.name, one.provider, one.reason, _time(one.since)) for one in report.unmounted],
            whole=("code", "provider"),
        )
        if more := report.unmounted_total - len(report.unmounted):
            say(f"and {more} more; choose a --provider")
    else:
        table(
            ("provider", "name", "resources", "mounted", "reachable"),
            [(one.provider, one.name, *map(str, _counts(one))) for one in report.providers],
            whole=("provider",),
        )


def _counts(row: pb.ProviderMounts) -> tuple[int, int, int]:
    return row.resources, row.mounted, row.reachable


def _time(stamp: Any) -> str:
    moment: dt.datetime = stamp.ToDatetime(dt.UTC)
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _ask(config: Config, provider: str) -> pb.GetMountReportResponse:
    """Ask the broker on its admin socket.

    Raises:
        BrokerUnreachable: no broker listens there, or this user may not open it.
        ConfigurationError: there is no such provider.
    """
    path = config.path(config.admin.socket)
    options = [("grpc.max_receive_message_length", -1)]  # a report has a line for every resource that does not work
    try:
        with grpc.insecure_channel(f"unix:{path}", options) as channel:
            return CatalogueServiceStub(channel).GetMountReport(pb.GetMountReportRequest(provider=provider))
    except grpc.RpcError as error:
        failure = decode(error)
        if failure.code is grpc.StatusCode.UNAVAILABLE:
            raise BrokerUnreachable(f"no broker answers on {path}; start one with `broker serve`") from None
        raise ConfigurationError(failure.message) from None

"""`broker cache`: purge answers from the running broker's cache."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from broker.cli.admin import admin
from broker.cli.arguments import Arguments, given
from broker.cli.output import ConfigFile, Json, emit, load_config, say
from broker.v1 import admin_pb2 as pb

app = typer.Typer(help="Look after the running broker's cache.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look after the running broker's cache."""


@app.command()
def purge(
    arguments: Arguments = None,
    question: Annotated[str | None, typer.Option(help="Every answer of this interface to the question key=value ….")] = None,
    interface: Annotated[str | None, typer.Option(help="Every answer of this interface.")] = None,
    provider: Annotated[str | None, typer.Option(help="Every answer of this provider.")] = None,
    subject: Annotated[
        bool, typer.Option(help="Every answer about a subject; its identifier is read from standard input.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Remove cached answers; a call made afterwards never sees them. Choose exactly one target."""
    if sum([bool(question), bool(interface), bool(provider), subject, everything]) != 1:
        raise typer.BadParameter("choose exactly one of --question, --interface, --provider, --subject, --all")
    if arguments and not question:
        raise typer.BadParameter("key=value belongs to --question")
    request = _question(question, arguments) if question else _request(interface, provider, subject)
    with admin(load_config(file)) as stub:
        removed = stub.Purge(request).removed
    emit({"removed": removed}) if json else say(f"{removed} answers removed")


def _question(interface: str, arguments: list[str] | None) -> pb.PurgeRequest:
    return pb.PurgeRequest(question=pb.CacheQuestion(interface=interface, arguments=given(arguments)))


def _request(interface: str | None, provider: str | None, subject: bool) -> pb.PurgeRequest:
    if interface:
        return pb.PurgeRequest(interface=interface)
    if provider:
        return pb.PurgeRequest(provider=provider)
    return pb.PurgeRequest(subject=_read_subject()) if subject else pb.PurgeRequest(all=True)


def _read_subject() -> str:
    """Never an argument of the command: those are seen by every user of the machine."""
    return str(typer.prompt("subject", hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline().strip()

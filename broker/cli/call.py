"""`broker call`: ask one question as a consumer and print the answer with its provenance."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import msgspec
import typer

from broker.cli.arguments import Arguments, given
from broker.cli.consumer import KeyFile, KeyId, read_key
from broker.cli.output import Json, console, emit, say, table
from broker.client import Answer, CallFailed, Client, TokenSource
from broker.client.credentials import DEFAULT_AUDIENCE, DEFAULT_KEY_ID

EXIT_CALL_FAILED = 10

app = typer.Typer()


@app.command()
def call(
    interface: Annotated[str, typer.Argument(help="Identifier of the interface.")],
    purpose: Annotated[str, typer.Option(help="Purpose code of the grant.")],
    consumer: Annotated[str, typer.Option(envvar="BROKER_CONSUMER", help="Who asks.")],
    key_file: KeyFile,
    arguments: Arguments = None,
    target: Annotated[str, typer.Option(envvar="BROKER_TARGET", help="The broker, host:port.")] = "127.0.0.1:50051",
    matter: Annotated[str, typer.Option(help="Code of the business matter.")] = "",
    key_id: KeyId = DEFAULT_KEY_ID,
    audience: Annotated[str, typer.Option(help="The broker that the token is meant for.")] = DEFAULT_AUDIENCE,
    max_age_s: Annotated[float | None, typer.Option(help="Greatest age accepted; 0 asks the provider now.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Deadline.")] = 5.0,
    json: Json = False,
) -> None:
    """Ask one question of one interface."""
    read_key(key_file)
    tokens = TokenSource(consumer, key_file, key_id=key_id, audience=audience)
    with Client(target, tokens) as client:
        try:
            answer = client.call(
                interface, given(arguments), purpose=purpose, matter=matter, timeout_s=timeout_s, max_age_s=max_age_s
            )
        except CallFailed as failure:
            _print_failure(failure, json)
    emit(answer) if json else _print(answer)


def _print(answer: Answer) -> None:
    if answer.found:
        table(("field", "value"), [(name, "" if value is None else str(value)) for name, value in answer.fields.items()])
    else:
        say("NOT FOUND: the provider holds no such record")
    facts = msgspec.to_builtins(answer.provenance)
    console.print("  ".join(f"{name}={value}" for name, value in facts.items() if name != "digest"), style="dim", markup=False)


def _print_failure(failure: CallFailed, json: bool) -> NoReturn:
    facts = {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "metadata": failure.metadata,
        "violations": failure.violations,
        "retry_after_s": failure.retry_after_s,
        "request_id": failure.request_id,
    }
    if json:
        emit({"error": facts})
    else:
        sys.stderr.write("\n".join(f"{name}: {value}" for name, value in facts.items() if value) + "\n")
    raise SystemExit(EXIT_CALL_FAILED)

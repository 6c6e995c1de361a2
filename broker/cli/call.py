"""`broker call`: ask one question as a consumer and print the answer with its provenance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import grpc
import msgspec
import typer

from broker.cli.arguments import Arguments, given
from broker.cli.consumer import KeyId, read_key, read_thumbprint
from broker.cli.output import Json, console, emit, say, table
from broker.client import Answer, CallFailed, Client, TokenSource, tls
from broker.client.credentials import DEFAULT_AUDIENCE, DEFAULT_KEY_ID
from broker.errors import SecretMissing

EXIT_CALL_FAILED = 10

app = typer.Typer()


@app.command()
def call(
    interface: Annotated[str, typer.Argument(help="Identifier of the interface.")],
    purpose: Annotated[str, typer.Option(help="Purpose code of the grant.")],
    consumer: Annotated[str, typer.Option(envvar="BROKER_CONSUMER", help="Who asks, for the token.")] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(envvar="BROKER_KEY_FILE", help="Private key (PEM) of tokens; none: the certificate is enough."),
    ] = None,
    arguments: Arguments = None,
    target: Annotated[str, typer.Option(envvar="BROKER_TARGET", help="The broker, host:port.")] = "127.0.0.1:50051",
    matter: Annotated[str, typer.Option(help="Code of the business matter.")] = "",
    key_id: KeyId = DEFAULT_KEY_ID,
    audience: Annotated[str, typer.Option(help="The broker that the token is meant for.")] = DEFAULT_AUDIENCE,
    ca_file: Annotated[
        Path | None, typer.Option(envvar="BROKER_CA_FILE", help="Authority of the broker's certificate (PEM); TLS.")
    ] = None,
    certificate_file: Annotated[
        Path | None, typer.Option(envvar="BROKER_CERTIFICATE_FILE", help="Client certificate (PEM); TLS.")
    ] = None,
    certificate_key_file: Annotated[
        Path | None, typer.Option(envvar="BROKER_CERTIFICATE_KEY_FILE", help="Its private key (PEM).")
    ] = None,
    operator: Annotated[str, typer.Option(help="The person who causes the call.")] = "",
    unit: Annotated[str, typer.Option(help="The unit that the person works for.")] = "",
    device: Annotated[str, typer.Option(help="The terminal that it comes from.")] = "",
    max_age_s: Annotated[float | None, typer.Option(help="Greatest age accepted; 0 asks the provider now.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Deadline.")] = 5.0,
    json: Json = False,
) -> None:
    """Ask one question of one interface."""
    context = {"matter": matter, "operator": operator, "unit": unit, "device": device}
    credentials = _credentials(ca_file, certificate_file, certificate_key_file)
    tokens = _tokens(consumer, key_file, key_id, audience, certificate_file)
    with Client(target, tokens, credentials=credentials) as client:
        try:
            answer = client.call(
                interface, given(arguments), purpose=purpose, timeout_s=timeout_s, max_age_s=max_age_s, **context
            )
        except CallFailed as failure:
            _print_failure(failure, json)
    emit(answer) if json else _print(answer)


def _tokens(
    consumer: str, key_file: Path | None, key_id: str, audience: str, certificate_file: Path | None
) -> TokenSource | None:
    """Make what signs tokens; None where the certificate is to be enough.

    Raises:
        SecretMissing: a file cannot be read.
    """
    if key_file is None and certificate_file is not None:
        return None
    if key_file is None or not consumer:
        raise typer.BadParameter("--consumer and --key-file are needed, or --certificate-file without a --key-file")
    read_key(key_file)
    read_thumbprint(certificate_file)
    return TokenSource(consumer, key_file, key_id=key_id, audience=audience, certificate_file=certificate_file)


def _credentials(ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> grpc.ChannelCredentials | None:
    """Read what TLS needs; None for cleartext.

    Raises:
        SecretMissing: a file cannot be read.
    """
    if (certificate_file is None) != (key_file is None):
        raise typer.BadParameter("--certificate-file and --certificate-key-file go together")
    try:
        return tls(ca_file, certificate_file, key_file) if ca_file or certificate_file else None
    except OSError as error:
        raise SecretMissing(f"{error.filename}: cannot be read ({error.strerror})") from error


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

"""`broker consumer`: keys and tokens of a consumer, as its own operators make them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.cli.output import Json, emit, say
from broker.client.credentials import (
    DEFAULT_AUDIENCE,
    DEFAULT_KEY_ID,
    DEFAULT_LIFE_S,
    generate_key,
    issue_token,
    load_key,
    thumbprint,
)
from broker.errors import ConfigurationError, DirectoryUnusable, SecretMissing

app = typer.Typer(help="Keys and tokens of consumers.", no_args_is_help=True)
KeyFile = Annotated[Path, typer.Option("--key-file", envvar="BROKER_KEY_FILE", help="Private key (PEM).")]
KeyId = Annotated[str, typer.Option("--key-id", help="Name of the key in the catalogue.")]
CertificateFile = Annotated[
    Path | None,
    typer.Option(
        "--certificate-file", envvar="BROKER_CERTIFICATE_FILE", help="Client certificate (PEM) that a token is bound to."
    ),
]


def read_key(file: Path) -> Ed25519PrivateKey:
    """Read a consumer's key.

    Raises:
        SecretMissing: the file cannot be read or holds no Ed25519 key.
    """
    try:
        return load_key(file)
    except OSError as error:
        raise SecretMissing(f"{file}: cannot be read ({error.strerror}); `broker consumer new-key` makes one") from error
    except ValueError as error:
        raise SecretMissing(f"{file}: is not an Ed25519 private key in PEM") from error


def read_thumbprint(file: Path | None) -> str | None:
    """Return what binds a token to a certificate; None without one.

    Raises:
        SecretMissing: the file cannot be read or holds no certificate.
    """
    try:
        return thumbprint(file) if file else None
    except OSError as error:
        raise SecretMissing(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SecretMissing(f"{file}: is not a certificate in PEM") from error


@app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="Where to write the private key; must not exist.")], json: Json = False
) -> None:
    """Make a key pair: the private half into a file, the public half printed for the catalogue."""
    try:
        public_key = generate_key(file)
    except FileExistsError as error:
        raise ConfigurationError(f"{file}: exists; a key is never overwritten") from error
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error
    if json:
        emit({"key_file": str(file), "public_key": public_key})
    else:
        say(f'{file} written; in the catalogue:\n[[consumers.keys]]\nid = "{DEFAULT_KEY_ID}"\npublic_key = "{public_key}"')


@app.command("issue-token")
def issue(
    consumer: Annotated[str, typer.Argument(help="Identifier of the consumer.")],
    key_file: KeyFile,
    key_id: KeyId = DEFAULT_KEY_ID,
    audience: Annotated[str, typer.Option(help="The broker it is meant for.")] = DEFAULT_AUDIENCE,
    life_s: Annotated[int, typer.Option(min=1, max=DEFAULT_LIFE_S, help="How long it is good, in seconds.")] = DEFAULT_LIFE_S,
    certificate_file: CertificateFile = None,
    json: Json = False,
) -> None:
    """Print a short-lived token for the `authorization: Bearer …` metadata of calls."""
    key, bound_to, now_s = read_key(key_file), read_thumbprint(certificate_file), time.time()
    token = issue_token(consumer, key, key_id=key_id, audience=audience, now_s=now_s, life_s=life_s, bound_to=bound_to)
    emit({"token": token, "expires_at": int(now_s) + life_s}) if json else typer.echo(token)

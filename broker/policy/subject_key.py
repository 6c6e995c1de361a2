"""The key under which subjects are hashed before they are counted, so that the counts are no register of who was asked about.

Brokers that share a control plane share the file; with keys of their own each would count a subject once more. What must not go
in here: what is hashed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from broker.errors import DirectoryUnusable, SecretMissing

KEY_BYTES = 32


def open_key(file: Path) -> bytes:
    """Return the key in a file, which is made where there is none.

    Raises:
        DirectoryUnusable: it cannot be made.
        SecretMissing: it cannot be read, or does not hold 32 bytes.
    """
    if file.exists():
        return _read(file)
    made = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # whole or not at all, and whoever is first
            os.link(made, file)
        made.unlink()
    except OSError as error:
        raise DirectoryUnusable(f"policy.subject_key_file: {file} cannot be made ({error.strerror})") from error
    return _read(file)


def _read(file: Path) -> bytes:
    try:
        key = file.read_bytes()
    except OSError as error:
        raise SecretMissing(f"policy.subject_key_file: cannot be read ({error.strerror})") from error
    if len(key) != KEY_BYTES:
        raise SecretMissing(f"policy.subject_key_file: does not hold {KEY_BYTES} bytes")
    return key

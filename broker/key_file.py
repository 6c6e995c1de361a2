"""A key of 32 random bytes in a file of its own, made where there is none.

Such keys are what subjects are hashed under, so that what is kept of them is no register of who was asked about: one for
counts of the control plane (brokers that share it share the file), one for the audit log. What must not go in here: what is
hashed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from broker.errors import DirectoryUnusable, SecretMissing

KEY_BYTES = 32


def open_key(file: Path, setting: str) -> bytes:
    """Return the key in a file, which is made where there is none; `setting` says which file it is.

    Raises:
        DirectoryUnusable: it cannot be made.
        SecretMissing: it cannot be read, or does not hold 32 bytes.
    """
    if file.exists():
        return _read(file, setting)
    made = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(secrets.token_bytes(KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())  # what is hashed under it may outlive a power cut
        with contextlib.suppress(FileExistsError):  # whole or not at all, and whoever is first
            os.link(made, file)
        made.unlink()
    except OSError as error:
        raise DirectoryUnusable(f"{setting}: {file} cannot be made ({error.strerror})") from error
    return _read(file, setting)


def _read(file: Path, setting: str) -> bytes:
    try:
        key = file.read_bytes()
    except OSError as error:
        raise SecretMissing(f"{setting}: cannot be read ({error.strerror})") from error
    if len(key) != KEY_BYTES:
        raise SecretMissing(f"{setting}: does not hold {KEY_BYTES} bytes")
    return key

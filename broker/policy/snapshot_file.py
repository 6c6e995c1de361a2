"""The snapshot as a file that other processes map: written whole or not at all, refused when damaged or older.

It is also what a core serves from when it starts and the control plane does not answer. What must not go in here: the layout
of the image (image.py), and when a snapshot is swapped in (`serve/`).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from broker._native.policy import Image
from broker.errors import DirectoryUnusable, SnapshotRefused
from broker.model.snapshot import Snapshot
from broker.policy.directory import KINDS, key_of

NAME = "policy.snapshot"


def write(file: Path, image: bytes) -> None:
    """Put an image in place of the one there. Not synced: a power cut leaves a file that is refused, and compiled anew.

    Raises:
        DirectoryUnusable: it cannot be written.
    """
    made = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(image)
        made.replace(file)
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error


def open_image(file: Path, newer_than: int = -1) -> Image:
    """Map the image in a file.

    Raises:
        SnapshotRefused: there is none, it is damaged, or its version is not above `newer_than`.
    """
    try:
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise SnapshotRefused(f"{file}: cannot be mapped") from error
    try:
        image = Image(mapped)
    except ValueError as error:
        raise SnapshotRefused(f"{file}: {error}") from error
    if image.version <= newer_than:
        raise SnapshotRefused(f"{file}: version {image.version} is not newer than {newer_than}")
    return image


def open_snapshot(file: Path) -> Snapshot:
    """Open the snapshot in a file. Raises SnapshotRefused as `open_image` does."""
    image = open_image(file)
    try:
        documents: dict[str, list[Any]] = msgspec.msgpack.decode(image.documents())
        values = {kind: dict(_decoded(kind, found)) for kind, found in documents.items()}
        return Snapshot.of(image, values)
    except (msgspec.MsgspecError, KeyError, AttributeError, TypeError) as error:
        raise SnapshotRefused(f"{file}: is of another version of this software") from error


def _decoded(kind: str, documents: list[Any]) -> Iterator[tuple[str, Any]]:
    for document in documents:
        value = msgspec.convert(document, KINDS[kind])
        yield key_of(value), value

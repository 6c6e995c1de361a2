"""Structured logs on standard error: one event a line, JSON unless a person is looking. Never argument or answer values."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any, BinaryIO

import msgspec
import structlog

from broker.config import Log

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(settings: Log, *, force_json: bool = False) -> None:
    """Set structlog up for this process."""
    for_people = not force_json and (settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty()))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_values,
            structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=_to_terminal() if for_people else structlog.BytesLoggerFactory(_Lossy(sys.stderr.buffer)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


class _Lossy:
    """A file that may be on a full disk, as the audit log may: whoever tells of that must not stumble over it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def _to_terminal() -> Any:
    return structlog.PrintLoggerFactory(sys.stderr)


def _without_values(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Tell an exception by type and place; its text and its variables may hold what a citizen told us."""
    if event.pop("exc_info", None):
        kind, _, trace = sys.exc_info()
        frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
        event.update(exception=kind.__name__ if kind else "", frames=frames)
    return event


def _encode(event: Any, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)

"""What time it can be: the wall clock, doubted by a clock that nobody can set.

Somebody who turns the wall clock back would revive expired tokens, certificates and grants. So the broker notes once a boot
what the wall clock said and how long the machine had been up (the *anchor*), and from then on knows two times: what the wall
clock says, and the anchor plus the time that has passed since. What ends is judged by the later of the two, what begins by the
earlier: a clock that jumps forward refuses too much while it is wrong, one that jumps back revives nothing.

Time passed is CLOCK_BOOTTIME, which goes on while the machine sleeps (CLOCK_MONOTONIC where there is none). The kernel corrects
the rate of both clocks alike, so slewing by NTP does not take them apart; only steps do, and those are what is to be noticed.
The anchor is in a file, for a core that is restarted would otherwise believe the clock of that moment; another boot makes
another anchor. If the clock was wrong when it was made, the file may be removed once the clock is right: the next warning, or
the next core, makes a new one.

What must not go in here: timers and deadlines (they have their own clock), and what is judged by the times.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import structlog

from broker.boot import read_boot_id
from broker.model.call import Times

log = structlog.get_logger("clock")

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MS = 1_000_000  # in ns
_WARNING_EVERY_MS = 60_000


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the wall clock said when a boot had lasted so long."""

    boot: str
    wall_ms: int
    elapsed_ms: int


def times(anchor: Anchor, wall_ms: int, elapsed_ms: int) -> Times:
    """Return what time it can be, given what both clocks say now."""
    anchored_ms = anchor.wall_ms + elapsed_ms - anchor.elapsed_ms
    return Times(wall_ms, wall_ms, anchored_ms) if wall_ms <= anchored_ms else Times(wall_ms, anchored_ms, wall_ms)


def of_this_boot(anchor: Anchor | None, boot: str, elapsed_ms: int) -> bool:
    """Whether an anchor that was read is one to count from."""
    return anchor is not None and boot != "" and anchor.boot == boot and anchor.elapsed_ms <= elapsed_ms


class Clock:
    """Tells the times; one to a core."""

    def __init__(self, file: Path, tolerated_ms: int, boot: str | None = None) -> None:
        self._file = file
        self._tolerated_ms = tolerated_ms
        self._boot = read_boot_id() if boot is None else boot
        self._quiet_until_ms = 0
        self._anchor = self._find_anchor()

    @property
    def anchor_ms(self) -> int:
        """What the wall clock said less the time since boot, when the clock was anchored: this and the time since boot is the
        time that nobody can set."""
        return self._anchor.wall_ms - self._anchor.elapsed_ms

    def __call__(self) -> Times:
        """Return what time it can be now."""
        elapsed_ms = _elapsed_ms()
        _, earliest_ms, latest_ms = found = times(self._anchor, time.time_ns() // _MS, elapsed_ms)
        if latest_ms - earliest_ms > self._tolerated_ms and elapsed_ms >= self._quiet_until_ms:
            return self._doubt(found, elapsed_ms)
        return found

    def _doubt(self, found: Times, elapsed_ms: int) -> Times:
        """Warn, at most once a minute; start anew if the operator has removed the file."""
        self._quiet_until_ms = elapsed_ms + _WARNING_EVERY_MS
        if not self._file.exists():
            self._anchor = self._find_anchor()
            log.warning("a new anchor for the clock has been made, for its file was removed")
            return times(self._anchor, found.wall_ms, elapsed_ms)
        log.warning(
            "the wall clock has jumped: what ends is judged by the later time, what begins by the earlier. Set it right; "
            "if it is right, remove the file",
            file=str(self._file),
            apart_s=(found.latest_ms - found.earliest_ms) // 1000,
        )
        return found

    def _find_anchor(self) -> Anchor:
        elapsed_ms = _elapsed_ms()
        held = _read(self._file)
        if held is not None and of_this_boot(held, self._boot, elapsed_ms):
            return held
        made = Anchor(boot=self._boot, wall_ms=time.time_ns() // _MS, elapsed_ms=elapsed_ms)
        _write(self._file, made)
        return made


def _elapsed_ms() -> int:
    return time.clock_gettime_ns(_ELAPSED) // _MS


def _read(file: Path) -> Anchor | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Anchor)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(file: Path, anchor: Anchor) -> None:
    """Write it whole or not at all. Where it cannot be written the anchor is good for this process alone."""
    written = file.with_name(f"{file.name}.new")
    try:
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.encode(anchor))
        written.replace(file)
    except OSError as error:
        log.warning("the anchor of the clock cannot be kept; a restarted core will make another", error=type(error).__name__)

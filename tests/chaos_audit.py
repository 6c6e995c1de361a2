"""The power goes under a real file system: an audit stream is written to ext4 in an image, and the image is copied at any
moment.

What had not been synced is in the memory of the running system and not in the image, so a copy is what a power cut leaves;
mounted, ext4 replays its journal, and the stream must go on with all that was said before the copy was begun. The negative
control writes on a disk that only says that it syncs, and must lose something. Needs root (mount) and mkfs.ext4; says so and
ends well without.

    python -m tests.chaos_audit --rounds 50 [--seed 1]

What must not go in here: power cuts of a traced disk, which need no root (test_audit_power.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from broker.audit.segments import find_start
from tests import journal_kit as kit
from tests.support import disk_faults
from tests.test_audit_kills import stored

IMAGE_BYTES = 192 << 20
NAME = "front-0"


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        run("umount", at)


class Writer:
    """A process that writes and says what is durable; a thread reads that all the time."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.support.audit_writer", "nursery", str(directory), NAME]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        self.pid = int(self._process.stdout.readline().split()[1])
        self.said: list[tuple[int, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, b"ended\n"):
            sequence, token = line.decode().split()
            self.said.append((int(sequence), token))

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._reader.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def cut(directory: Path, seconds: float, environment: dict[str, str]) -> tuple[list[tuple[int, str]], Path]:
    """Write for so long, and let the power go; returns what had been said, and the image that is left."""
    image, left = directory / "image", directory / "left"
    for file in (image, left):
        file.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-F", image)
    with mounted(image, directory / "disk") as disk:
        writer = Writer(disk / "audit", environment)
        while not writer.said:
            time.sleep(0.001)
        time.sleep(seconds)
        said = list(writer.said)  # first, and only then the image
        os.kill(writer.pid, signal.SIGSTOP)
        run("cp", "--sparse=always", image, left)
        os.kill(writer.pid, signal.SIGCONT)
        writer.end()
    return said, left


def lost(said: list[tuple[int, str]], image: Path, directory: Path) -> tuple[int, int]:
    """Mount what is left and go on; returns how many records that had been said are not there, and bytes of a torn batch."""
    with mounted(image, directory / "after") as disk:
        folder = disk / "audit" / NAME
        if not folder.is_dir():
            return len(said), 0
        start = find_start(folder, 1)
        with kit.writing(folder) as writer:
            kit.wait_for(writer, writer.append(b"\x0a\x05after") + 1)
        held = dict(stored(folder))
        assert len(held) == start.records + 2, "a stream that goes on verifies"
        return sum(held.get(sequence) != token for sequence, token in said), start.left


def rounds(directory: Path, count: int, draw: random.Random, environment: dict[str, str]) -> tuple[int, int, int]:
    """Returns records said, records lost, and torn batches, of so many power cuts."""
    all_said = all_lost = torn = 0
    for _ in range(count):
        said, image = cut(directory, draw.choice((0.0, 0.05, 0.2, 0.5)), environment)
        missing, left = lost(said, image, directory)
        all_said, all_lost, torn = all_said + len(said), all_lost + missing, torn + (left > 0)
    return all_said, all_lost, torn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        sys.stdout.write("chaos_audit: skipped: it needs root, to mount, and mkfs.ext4\n")
        return 0
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        directory = Path(name)
        said, missing, torn = rounds(directory, options.rounds, draw, {})
        sys.stdout.write(f"{options.rounds} power cuts: {said} records said, {missing} lost, {torn} torn batches\n")
        liar = {"LD_PRELOAD": str(disk_faults.build(directory)), "DISK_LIES": "1"}
        control_said, control_lost, _ = rounds(directory, max(options.rounds // 10, 2), draw, liar)
        sys.stdout.write(f"without syncs: {control_said} records said, {control_lost} lost\n")
    return 0 if missing == 0 and control_lost > 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())

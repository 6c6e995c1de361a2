"""The snapshot as a file and in force: refused when damaged or older, the last good one kept, seen by other processes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from broker.errors import SnapshotRefused
from broker.model.snapshot import Snapshot
from broker.policy import snapshot_file
from broker.policy.compiler import Compiler
from broker.policy.store import Changes, Revision, encode
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, grant
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

KEY = "A" * 43 + "="
GOOD = catalogue("http://127.0.0.1:1", KEY)


def _image(version: int = 3) -> bytes:
    return Compiler().update(Changes(Revision(version, ""), encode(GOOD)))[0]


def _allows(snapshot: Snapshot) -> bool:
    number = snapshot.numbers[CONSUMER]
    return snapshot.image.decide(number, INTERFACE, 0, PURPOSE, "", "", 0, 1_700_000_000_000, 1_700_000_000_000)[1] is not None


def test_a_file_gives_the_whole_snapshot_back(tmp_path: Path) -> None:
    file = tmp_path / "policy.snapshot"
    image = _image()
    snapshot_file.write(file, image)
    assert file.stat().st_mode & 0o777 == 0o600
    opened = snapshot_file.open_snapshot(file)
    assert (opened.version, opened.grants, opened.interfaces.keys()) == (3, 1, {(INTERFACE, 0), (INTERFACE, 1)})
    assert opened.providers == {p.id: p for p in GOOD.providers}
    assert opened.public_keys == {(CONSUMER, "k1"): KEY}
    assert _allows(opened)


def test_missing_empty_cut_damaged_and_older_files_are_refused(tmp_path: Path) -> None:
    file, image = tmp_path / "policy.snapshot", _image()
    with pytest.raises(SnapshotRefused, match="cannot be mapped"):
        snapshot_file.open_image(file)
    for content in (b"", image[:-1], image[: len(image) // 2], image + b"\0", b"x" * len(image), bytes(len(image))):
        file.write_bytes(content)
        with pytest.raises(SnapshotRefused):
            snapshot_file.open_image(file)
    for position in range(0, len(image), 97):
        damaged = bytearray(image)
        damaged[position] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(SnapshotRefused):
            snapshot_file.open_image(file)
    file.write_bytes(image)
    assert snapshot_file.open_image(file, newer_than=2).version == 3
    with pytest.raises(SnapshotRefused, match="not newer"):
        snapshot_file.open_image(file, newer_than=3)


_OTHER_PROCESS = """
import sys, time
from pathlib import Path
from broker.errors import SnapshotRefused
from broker.policy import snapshot_file
file, seen = Path(sys.argv[1]), -1
while True:
    try:
        snapshot = snapshot_file.open_snapshot(file)
    except SnapshotRefused:
        continue
    if snapshot.version > seen:
        seen = snapshot.version
        print(seen, snapshot.grants, flush=True)
    time.sleep(0.01)
"""


@contextlib.contextmanager
def _another_process(file: Path) -> Iterator[list[tuple[int, int]]]:
    """A process that maps every new snapshot and tells its version and how many grants it holds."""
    process = subprocess.Popen([sys.executable, "-c", _OTHER_PROCESS, str(file)], stdout=subprocess.PIPE, text=True)
    seen: list[tuple[int, int]] = []
    assert process.stdout is not None
    lines = process.stdout
    reader = threading.Thread(target=lambda: seen.extend((int(v), int(g)) for v, g in map(str.split, lines)))
    reader.start()
    try:
        yield seen
    finally:
        process.kill()
        process.wait()
        reader.join()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    running = RunningBroker(tmp_path_factory.mktemp("s"))
    yield running
    running.kill()


async def test_another_process_sees_a_revocation_in_the_file(own: RunningBroker) -> None:
    own.start()
    file = own.directory / "data" / "policy.snapshot"
    with _another_process(file) as seen:
        await own.put(catalogue("http://127.0.0.1:1", own.public_key))
        wait_until(lambda: (1, 1) in seen)
        await own.put(catalogue("http://127.0.0.1:1", own.public_key, grants=()))
        wait_until(lambda: (2, 0) in seen)


def _break_database(own: RunningBroker) -> None:
    (own.directory / "data" / "control.db").rename(own.directory / "data" / "away.db")
    (own.directory / "data" / "control.db").symlink_to(own.directory)  # which is no database


def _mend_database(own: RunningBroker) -> None:
    """At once: a core that looks in between would find nothing, and make a database of its own."""
    (own.directory / "data" / "away.db").rename(own.directory / "data" / "control.db")


async def test_a_core_starts_from_the_last_snapshot_when_the_control_plane_is_away(
    own: RunningBroker, register: Register
) -> None:
    own.start()
    await own.put(catalogue(register.base_url, own.public_key))
    assert own.stop() == 0
    _break_database(own)
    own.start()
    async with own.client() as client:
        answer = await client.call(INTERFACE, {"resident_id": resident_id(1)}, purpose=PURPOSE)
        assert not answer.found
    assert "serving from the last snapshot" in own.log_file.read_text()
    _mend_database(own)
    await own.put(catalogue(register.base_url, own.public_key, grants=(grant(fields=["name"]),)))


def test_without_a_control_plane_and_without_a_good_snapshot_it_does_not_start(own: RunningBroker) -> None:
    own.start()
    own.apply(catalogue("http://127.0.0.1:1", own.public_key))
    wait_until(lambda: "broker_policy_snapshot_version 1.0" in own.metrics())
    assert own.stop() == 0
    file = own.directory / "data" / "policy.snapshot"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    _break_database(own)
    refused = own.run("serve")
    assert refused.returncode == 5
    assert "control.url" in refused.stderr


async def test_a_restored_control_plane_is_read_anew_once_it_has_caught_up(own: RunningBroker) -> None:
    own.start()
    database = own.directory / "data" / "control.db"
    await own.put(catalogue("http://127.0.0.1:1", own.public_key, grants=(grant(id="a"), grant(id="b"))))
    backup = database.read_bytes()
    await own.put(catalogue("http://127.0.0.1:1", own.public_key, grants=(grant(id="a"), grant(id="b"), grant(id="lost"))))
    database.write_bytes(backup)
    wait_until(lambda: "older than the snapshot" in own.log_file.read_text())
    own.apply(catalogue("http://127.0.0.1:1", own.public_key, grants=(grant(id="a"),)))
    await own.put(catalogue("http://127.0.0.1:1", own.public_key, grants=(grant(id="a"), grant(id="new"))))
    left = snapshot_file.open_snapshot(own.directory / "data" / "policy.snapshot")
    assert [held.grant for held in left.held_by(CONSUMER)] == ["a", "new"]


async def test_what_this_version_cannot_read_leaves_the_last_snapshot_in_force(own: RunningBroker) -> None:
    own.start()
    await own.put(catalogue("http://127.0.0.1:1", own.public_key))
    assert own.stop() == 0
    with create_engine(f"sqlite:///{own.directory}/data/control.db").begin() as connection:
        connection.execute(text("UPDATE catalogue_entry SET document = x'80' WHERE kind = 'providers'"))
    own.start()
    assert "broker_policy_snapshot_version 1.0" in own.metrics()
    assert "apply the catalogue again" in own.log_file.read_text()
    assert own.stop() == 0
    (own.directory / "data" / "policy.snapshot").unlink()
    refused = own.run("serve")
    assert refused.returncode == 3
    assert "apply the catalogue again" in refused.stderr


async def test_an_older_control_plane_is_not_followed(own: RunningBroker) -> None:
    own.start()
    for fields in (["name"], ["status"], ["name", "status"]):
        await own.put(catalogue("http://127.0.0.1:1", own.public_key, grants=(grant(fields=fields),)))
    with create_engine(f"sqlite:///{own.directory}/data/control.db").begin() as connection:
        connection.execute(text("DELETE FROM catalogue_revision WHERE version = 3"))
    wait_until(lambda: "older than the snapshot" in own.log_file.read_text())
    assert "broker_policy_snapshot_version 3.0" in own.metrics()
    assert own.stop() == 0
    own.start()
    assert "broker_policy_snapshot_version 3.0" in own.metrics()
    told = next(line for line in own.log_file.read_text().splitlines() if "serving from the last snapshot" in line)
    assert f"remove {own.directory / 'data' / 'policy.snapshot'}" in told

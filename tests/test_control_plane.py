"""The control plane on SQLite and PostgreSQL: a catalogue is applied whole or not at all, read as of one moment, by whoever."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text

from broker import config
from broker.cli.catalogue import read_valid
from broker.errors import ConfigurationError, DirectoryUnusable, SecretMissing
from broker.policy import store
from broker.policy.database import Database
from broker.policy.store import ControlPlane, open_control
from tests.control_kit import control_url, postgres
from tests.postgres import Postgres
from tests.test_catalogue import GOOD, write

__all__ = ["control_url", "postgres"]  # fixtures


def _plane(url: str) -> ControlPlane:
    return ControlPlane(Database(url))


def _control(directory: Path) -> ControlPlane:
    return _plane(f"sqlite:///{directory}/control.db")


def test_applying_tells_what_changed_and_counts_revisions(tmp_path: Path) -> None:
    control = _control(tmp_path)
    catalogue = read_valid(write(tmp_path / "c", GOOD))
    assert control.difference(catalogue).count("added") == 4
    version, difference = control.apply(catalogue)
    assert (version, difference.count("added")) == (1, 4)
    assert control.apply(catalogue)[0] == 1, "nothing changed, so no new revision"
    changed = read_valid(write(tmp_path / "c", GOOD.replace('"subsidy-check"', '"loan-check"')))
    version, difference = control.apply(changed)
    assert (version, difference.changed, difference.added, difference.removed) == (2, {"grants": ("g1",)}, {}, {})
    without = read_valid(write(tmp_path / "c", GOOD[: GOOD.index("[[grants]]")]))
    assert control.apply(without)[1].removed == {"grants": ("g1",)}
    assert control.read() == (3, without)


def test_what_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    control = _control(tmp_path)
    control.apply(read_valid(write(tmp_path / "c", GOOD)))
    before = control.read()
    with create_engine(f"sqlite:///{tmp_path}/control.db").begin() as connection:
        connection.execute(text("CREATE TRIGGER no BEFORE INSERT ON catalogue_revision BEGIN SELECT RAISE(ABORT, 'no'); END"))
    with pytest.raises(DirectoryUnusable, match="IntegrityError"):
        control.apply(read_valid(write(tmp_path / "c", GOOD.replace("subsidy-check", "loan-check"))))
    assert control.read() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    _control(tmp_path).close()
    with create_engine(f"sqlite:///{tmp_path}/control.db").begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer version"):
        _control(tmp_path)


def test_what_was_in_force_before_changes_were_kept_is_told_as_kept(control_url: str, tmp_path: Path) -> None:
    plane = _plane(control_url)
    plane.apply(read_valid(write(tmp_path, GOOD)), "operator/chen", "a test")
    added = [(one.revision, one.target, one.outcome) for one in plane.told(0, 1000)]
    assert [(target, outcome) for _, target, outcome in added][-1] == ("grant/g1", "ADDED")
    with plane.database.writing() as connection:
        connection.execute(text("DROP TABLE control_change"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    found = _plane(control_url).told(0, 1000)
    assert [(one.revision, one.target, one.outcome) for one in found] == [(number, at, "KEPT") for number, at, _ in added]
    assert {one.at[-6:] for one in found} == {"+00:00"}


def _slowly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, leaving time for somebody else to come between what is read and what is done next."""

    def slow(connection: Connection, *rest: Any) -> Any:
        found = function(connection, *rest)
        time.sleep(0.2)
        return found

    return slow


def test_two_that_apply_at_once_leave_one_of_the_two(control_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_valid(write(tmp_path / "1", GOOD))
    shorter = GOOD[: GOOD.index("[[grants]]")]
    one = read_valid(write(tmp_path / "2", GOOD + '[[resources]]\ncode = "R1"\nname = "x"\nprovider = "national.police"\n'))
    other = read_valid(write(tmp_path / "3", shorter.replace("办税大厅", "大厅")))
    planes = [_plane(control_url), _plane(control_url)]
    planes[0].apply(first)
    monkeypatch.setattr(store, "_documents", _slowly(store._documents))
    with ThreadPoolExecutor(2) as pool:
        versions = [done[0] for done in pool.map(lambda plane, wanted: plane.apply(wanted), planes, (one, other))]
    assert sorted(versions) == [2, 3]
    assert planes[0].read() == (3, (one, other)[versions.index(3)])


def test_what_is_read_is_of_one_moment(control_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_valid(write(tmp_path / "1", GOOD))
    after = read_valid(write(tmp_path / "2", GOOD.replace("办税大厅", "大厅")))
    reader, writer = _plane(control_url), _plane(control_url)
    reader.apply(before)
    applying = threading.Thread(target=writer.apply, args=(after,))
    version = store._version

    def version_then_change(connection: Connection) -> int:
        monkeypatch.setattr(store, "_version", version)
        found = version(connection)
        applying.start()
        time.sleep(0.3)
        return found

    monkeypatch.setattr(store, "_version", version_then_change)
    assert reader.read() == (1, before)
    applying.join()
    assert reader.read() == (2, after)


def test_many_may_be_the_first(control_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert [plane.version() for plane in pool.map(_plane, [control_url] * 4)] == [0, 0, 0, 0]


def test_a_database_that_stays_locked_is_one_line(tmp_path: Path) -> None:
    catalogue = read_valid(write(tmp_path / "c", GOOD))
    control = ControlPlane(Database(f"sqlite:///{tmp_path}/control.db?timeout=0.1"))
    with contextlib.closing(sqlite3.connect(tmp_path / "control.db")) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")
        for work in (lambda: control.apply(catalogue), lambda: control.difference(catalogue), control.read, control.version):
            with pytest.raises(DirectoryUnusable, match=r"control\.url: .*OperationalError"):
                work()
    assert control.apply(catalogue)[0] == 1


def test_a_database_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(DirectoryUnusable, match=r"control\.url"):
        ControlPlane(Database("postgresql+psycopg://broker@127.0.0.1:1/broker"))


def test_what_was_applied_under_looser_rules_is_one_line(tmp_path: Path) -> None:
    control = _control(tmp_path)
    control.apply(read_valid(write(tmp_path / "c", GOOD)))
    with create_engine(f"sqlite:///{tmp_path}/control.db").begin() as connection:
        connection.execute(text("UPDATE catalogue_entry SET document = x'80' WHERE kind = 'providers'"))
    with pytest.raises(ConfigurationError, match="apply the catalogue again"):
        control.read()


def test_the_password_comes_from_its_file(postgres: Postgres, tmp_path: Path) -> None:
    rules = postgres.directory / "pg_hba.conf"
    rules.write_text(f"host all careful 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    with psycopg.connect(postgres.url("postgresql"), autocommit=True) as connection:
        connection.execute("CREATE ROLE careful LOGIN SUPERUSER PASSWORD 'TOP-SECRET'")
        connection.execute("SELECT pg_reload_conf()")
    url = postgres.url().replace("postgres@", "careful@")
    settings = config.Config(data_dir=str(tmp_path), control=config.ControlPlane(url=url, password_file="{data_dir}/password"))
    with pytest.raises(SecretMissing, match=r"control\.password_file"):
        open_control(settings)
    (tmp_path / "password").write_text("wrong\n")
    with pytest.raises(DirectoryUnusable) as refusal:
        open_control(settings)
    assert "wrong" not in str(refusal.value)
    (tmp_path / "password").write_text("TOP-SECRET\n")
    assert open_control(settings).version() == 0


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_password_file_without_a_password_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(SecretMissing, match=r"control\.password_file"):
        ControlPlane(Database("postgresql+psycopg://broker@127.0.0.1:1/broker", tmp_path / "password"))


@pytest.mark.parametrize(
    "url", ["no url", "nonsense://a/b", "mysql+pymysql://a/b", "postgresql://a/b", "postgresql+psycopg://a:port/b"]
)
def test_a_url_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"control\.url"):
        Database(url)


def test_an_unusable_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryUnusable):
        ControlPlane(Database(f"sqlite:///{tmp_path}/file/control.db"))

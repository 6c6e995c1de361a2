"""Starts that cannot succeed: one line on standard error, nothing of a library's own, and an exit code that tells which."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.catalogue import INTERFACE
from tests.support.running import RunningBroker

REFUSED_STARTS = [
    ("port", 4, "grpc.address"),
    ("port_of_a_name", 4, "grpc.address"),
    ("host", 4, "grpc.address"),
    ("admin_port", 4, "admin.http_address"),
    ("directory", 5, "data_dir"),
    ("config", 3, "nonsense"),
    ("config_file", 3, "cannot be read"),
    ("socket_path", 5, "admin.socket"),
    ("socket_directory", 5, "admin.socket"),
    ("socket_file", 5, "admin.socket"),
    ("socket_nowhere", 5, "admin.socket"),
    ("socket_below_file", 5, "admin.socket"),
]


@pytest.mark.parametrize(("what", "code", "said"), REFUSED_STARTS)
def test_a_start_that_cannot_succeed_is_one_line_and_an_exit_code(tmp_path: Path, what: str, code: int, said: str) -> None:
    broker = RunningBroker(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "file").write_text("")
        environment, arguments = {
            "port": ({"BROKER__GRPC__ADDRESS": address}, ()),
            "port_of_a_name": ({"BROKER__GRPC__ADDRESS": address.replace("127.0.0.1", "localhost")}, ()),
            "host": ({"BROKER__GRPC__ADDRESS": "192.0.2.1:50051", "BROKER__GRPC__INSECURE": "true"}, ()),
            "admin_port": ({"BROKER__ADMIN__HTTP_ADDRESS": address}, ()),
            "directory": ({"BROKER__DATA_DIR": str(tmp_path / "file" / "data")}, ()),
            "config": ({"BROKER__GRPC__NONSENSE": "1"}, ()),
            "config_file": ({}, ("--config", str(tmp_path / "nowhere.toml"))),
            "socket_path": ({"BROKER__ADMIN__SOCKET": str(tmp_path / ("x" * 120))}, ()),
            "socket_directory": ({"BROKER__ADMIN__SOCKET": str(tmp_path)}, ()),
            "socket_file": ({"BROKER__ADMIN__SOCKET": str(tmp_path / "file")}, ()),
            "socket_nowhere": ({"BROKER__ADMIN__SOCKET": str(tmp_path / "nowhere" / "admin.sock")}, ()),
            "socket_below_file": ({"BROKER__ADMIN__SOCKET": str(tmp_path / "file" / "admin.sock")}, ()),
        }[what]
        done = broker.run("serve", *arguments, BROKER__LOG__LEVEL="error", **environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith("broker: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert done.stderr.splitlines() == lines, "and nothing of a library's own"
    assert (tmp_path / "file").exists(), "a file that is not a socket of ours is left alone"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    (tmp_path / "data").mkdir(mode=0o500)
    assert broker.run("serve").returncode == 5


def test_a_missing_key_file_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    for arguments in (
        ("consumer", "issue-token", "tax-hall", "--key-file", str(tmp_path / "nowhere.key")),
        ("call", INTERFACE, "--purpose", "p", "--consumer", "c", "--key-file", str(tmp_path / "nowhere.key")),
    ):
        done = broker.run(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1)
        assert "nowhere.key: cannot be read" in done.stderr

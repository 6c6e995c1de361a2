"""Settings: defaults, file, environment; what is wrong is refused with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import config
from broker.errors import ConfigurationError


def _file(directory: Path, text: str) -> Path:
    file = directory / "broker.toml"
    file.write_text(text)
    return file


def test_defaults_then_file_then_environment(tmp_path: Path) -> None:
    file = _file(tmp_path, 'data_dir = "/srv/broker"\n[cache]\nmap_size_mib = 64\nfill_ratio = 0.5\n')
    settings = config.load(file, {"BROKER__CACHE__MAP_SIZE_MIB": "128", "OTHER": "x", "BROKER__LOG__LEVEL": "debug"})
    assert (settings.cache.map_size_mib, settings.cache.fill_ratio, settings.cache.max_readers) == (128, 0.5, 1024)
    assert settings.log.level == "debug"
    assert settings.expand(settings.control.url) == "sqlite:////srv/broker/control.db"


@pytest.mark.parametrize(
    ("text", "environment", "path"),
    [
        ("[cache]\nmapsize = 1", {}, "mapsize"),
        ("[cache]\nmap_size_mib = '1'", {}, "$.cache.map_size_mib"),
        ("[cache]\nmap_size_mib = 0", {}, "$.cache.map_size_mib"),
        ("[nonsense]\nx = 1", {}, "nonsense"),
        ("[log]\nlevel = 'loud'", {}, "$.log.level"),
        ("a = 1\na = 2", {}, "not valid TOML"),
        ("", {"BROKER__CACHE__MAP_SIZE_MIB": "big"}, "BROKER__CACHE__MAP_SIZE_MIB"),
        ("", {"BROKER__CACHE__NONSENSE": "1"}, "BROKER__CACHE__NONSENSE"),
        ("", {"BROKER__DATA_DIR__X": "1"}, "data_dir"),
        ("data_dir = '/x'", {"BROKER__DATA_DIR__X": "1"}, "is not a section"),
        ("[grpc]\naddress = '0.0.0.0:1'", {}, "grpc.insecure"),
        ("[grpc]\naddress = 'nowhere'", {}, "host:port"),
        ("[admin]\nhttp_address = 'x'", {}, "admin.http_address"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(tmp_path: Path, text: str, environment: dict[str, str], path: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        config.load(_file(tmp_path, text), environment)
    assert path in str(refusal.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read"):
        config.load(tmp_path / "nowhere.toml", {})


def test_cleartext_beyond_loopback_must_be_asked_for(tmp_path: Path) -> None:
    assert config.load(_file(tmp_path, "[grpc]\naddress = '0.0.0.0:1'\ninsecure = true"), {}).grpc.insecure
    for loopback in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert config.load(_file(tmp_path, f"[grpc]\naddress = '{loopback}'"), {})


def test_the_schema_names_every_setting() -> None:
    sections = config.schema()["$defs"]
    assert "map_size_mib" in sections["Cache"]["properties"]
    assert sections["Cache"]["additionalProperties"] is False

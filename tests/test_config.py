"""Settings: defaults, file, environment; what is wrong is refused with its path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker import config
from broker.cli.config import app
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
        ("[grpc.tls]\ncertificate_file = 'c'", {}, "grpc.tls.key_file"),
        ("[grpc.tls]\nkey_file = 'k'", {}, "grpc.tls.certificate_file"),
        ("[grpc.tls]\nclient_ca_file = 'a'", {}, "grpc.tls.certificate_file"),
        ("[grpc.tls]\ncertificate_file = 'c'\nkey_file = 'k'\nclient_crl_file = 'r'", {}, "grpc.tls.client_ca_file"),
        ("[grpc.tls]\ncertificate_file = 'c'\nkey_file = 'k'\ntoken_address = 't'", {}, "grpc.tls.client_ca_file"),
        (
            "[grpc.tls]\ncertificate_file = 'c'\nkey_file = 'k'\nclient_ca_file = 'a'\ntoken_address = 't'",
            {},
            "grpc.tls.token_address",
        ),
        ("[grpc]\ninsecure = true\n[grpc.tls]\ncertificate_file = 'c'\nkey_file = 'k'", {}, "grpc.insecure"),
        ("", {"BROKER__GRPC__TLS__NONSENSE": "1"}, "BROKER__GRPC__TLS__NONSENSE"),
        ("[grpc]\naddress = 'nowhere'", {}, "host:port"),
        ("[grpc]\naddress = '127.0.0.1:0'", {}, "grpc.address"),
        ("[grpc]\naddress = '127.0.0.1:65536'", {}, "grpc.address"),
        ("[grpc]\naddress = '127.0.0.1:²'", {}, "grpc.address"),
        ("[grpc]\naddress = '::1:50051'", {}, "grpc.address"),
        ("[admin]\nhttp_address = 'x'", {}, "admin.http_address"),
        ("[admin]\nhttp_address = ':9464'", {}, "admin.http_address"),
        ("[admin]\nhttp_address = '0.0.0.0:9464'", {}, "admin.exposed"),
        ("[admin]\nhttp_address = '127.0.0.1:0'", {}, "admin.http_address"),
        ("[admin]\nhttp_address = '[::1]:70000'", {}, "admin.http_address"),
        ("[grpc]\ndefault_timeout_ms = 20", {}, "grpc.default_timeout_ms"),
        ("[upstream]\ndeadline_margin_ms = 100", {}, "$.upstream.deadline_margin_ms"),
        ("[upstream]\nbreaker_min_calls = 21", {}, "upstream.breaker_min_calls"),
        ("[upstream]\nbreaker_failure_ratio = 0.0", {}, "$.upstream.breaker_failure_ratio"),
        ("[upstream]\nretry_ratio = 1.5", {}, "$.upstream.retry_ratio"),
        ("", {"BROKER__CACHE__MAP_SIZE_MIB": "1.5"}, "BROKER__CACHE__MAP_SIZE_MIB"),
        ("", {"BROKER__GRPC__INSECURE": "perhaps"}, "BROKER__GRPC__INSECURE"),
        ("", {"BROKER__GRPC": "1"}, "BROKER__GRPC"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(tmp_path: Path, text: str, environment: dict[str, str], path: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        config.load(_file(tmp_path, text), environment)
    assert path in str(refusal.value)


@pytest.mark.parametrize("text", ["123", "1.5", "true", "2026-01-01", "[1]", '"quoted"'])
def test_a_variable_means_what_its_setting_takes(text: str) -> None:
    assert config.load(None, {"BROKER__DATA_DIR": text}).data_dir == text


def test_variables_hold_numbers_and_truth_values() -> None:
    settings = config.load(None, {"BROKER__CACHE__FILL_RATIO": "0.25", "BROKER__GRPC__REFLECTION": "false"})
    assert (settings.cache.fill_ratio, settings.grpc.reflection) == (0.25, False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://broker:TOP@db/broker",
        "postgresql+psycopg://broker:TO/P@db/broker",
        "postgresql+psycopg://:TOP@db/broker",
        "postgresql+psycopg://db/broker?user=x&password=TOP",
        "postgresql+psycopg://db/broker?%70assword=TOP",
        "postgresql+psycopg://db/broker?sslpassword=TOP",
    ],
)
def test_a_password_in_a_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"control\.password_file") as refusal:
        config.load(None, {"BROKER__CONTROL__URL": url})
    assert "TOP" not in str(refusal.value)


@pytest.mark.parametrize("url", ["sqlite:////srv/a:b/control.db", "postgresql+psycopg://broker@db:5432/broker?sslmode=require"])
def test_a_url_without_a_password_is_accepted(url: str) -> None:
    assert config.load(None, {"BROKER__CONTROL__URL": url}).control.url == url


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read"):
        config.load(tmp_path / "nowhere.toml", {})


def test_cleartext_beyond_loopback_must_be_asked_for(tmp_path: Path) -> None:
    assert config.load(_file(tmp_path, "[grpc]\naddress = '0.0.0.0:1'\ninsecure = true"), {}).grpc.insecure
    for loopback in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert config.load(_file(tmp_path, f"[grpc]\naddress = '{loopback}'"), {})


def test_with_tls_an_address_beyond_loopback_needs_no_further_word(tmp_path: Path) -> None:
    text = "[grpc]\naddress = '0.0.0.0:1'\n[grpc.tls]\ncertificate_file = 'c'\nkey_file = 'k'"
    settings = config.load(_file(tmp_path, text), {"BROKER__GRPC__TLS__CLIENT_CA_FILE": "a"})
    assert (settings.grpc.tls.client_ca_file, settings.grpc.insecure) == ("a", False)


def test_sections_within_sections_are_shown_by_their_path(tmp_path: Path) -> None:
    file = _file(tmp_path, "[grpc.tls]\ncertificate_file = 'c.pem'\nkey_file = 'k.pem'")
    shown = CliRunner().invoke(app, ["show", "--config", str(file)])
    assert re.search(r"grpc\.tls\.certificate_file\W+c\.pem", shown.output), shown.output


def test_a_page_beyond_loopback_must_be_asked_for(tmp_path: Path) -> None:
    assert config.load(_file(tmp_path, "[admin]\nhttp_address = '10.0.0.1:9464'\nexposed = true"), {}).admin.exposed
    for loopback in ("127.0.0.1:1", "[::1]:65535", "localhost:9464"):
        assert config.load(_file(tmp_path, f"[admin]\nhttp_address = '{loopback}'"), {})


def test_the_schema_names_every_setting() -> None:
    sections = config.schema()["$defs"]
    assert "map_size_mib" in sections["Cache"]["properties"]
    assert sections["Cache"]["additionalProperties"] is False

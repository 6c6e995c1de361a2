"""Frozen settings, read once: defaults here, then one TOML file, then ``BROKER__SECTION__KEY`` environment variables.

An unknown key or a wrong type is refused with its path. Units stand in the names. What must not go in here: secrets (only
the paths of files that hold them), and any look at the machine beyond reading the file and the environment.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
import urllib.parse
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from broker.errors import ConfigurationError

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]

ENVIRONMENT_PREFIX = "BROKER__"
_ADDRESS = re.compile(r"(?P<host>[^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_PORTS = range(1, 65_536)
_PASSWORD = re.compile(r"://[^:/@]*:[^@]*@")  # as SQLAlchemy finds one, which may have slashes in it


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the settings: frozen, and strict about names."""


class Tls(Section, frozen=True):
    """TLS of the consumers' side: paths of PEM files, read again when they change."""

    certificate_file: str = ""  # the broker's own, with the chain; "" is cleartext
    key_file: str = ""
    client_ca_file: str = ""  # the authorities of clients' certificates: grpc.address then asks everybody for one
    client_crl_file: str = ""  # their revocation lists
    token_address: str = ""  # a second address, for consumers that have a token and no certificate


class Grpc(Section, frozen=True):
    """The consumers' side."""

    address: str = "127.0.0.1:50051"
    fronts: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1  # processes that take the calls; 0: the core takes them itself
    insecure: bool = False  # cleartext beyond loopback must be asked for in so many words
    tls: Tls = Tls()
    reflection: bool = True
    default_timeout_ms: Positive = 5000
    max_message_bytes: Positive = 1 << 20
    drain_ms: NotNegative = 300  # between NOT_SERVING and closing, so that balancers look away first
    grace_ms: NotNegative = 5000  # for calls in progress after that
    keepalive_min_interval_ms: Positive = 10_000


class Front(Section, frozen=True):
    """What one connection of a consumer to a front may do. Beyond it the connection is ended, counted, and the limit logged.

    A name with `_per_second` beside it is a budget: so many at once, and so many more each second.
    """

    frames: Positive = 200_000
    frames_per_second: Positive = 200_000
    resets: Positive = 200  # received, and sent because of an error
    resets_per_second: Positive = 33
    pings: Positive = 20  # one more for each frame of ours that they may answer
    pings_per_second: Positive = 2
    settings: Positive = 20
    settings_per_second: Positive = 2
    priorities: Positive = 100
    priorities_per_second: Positive = 10
    window_updates: Positive = 1000  # ten more for each frame of ours that they may answer
    window_updates_per_second: Positive = 100
    empty_frames: Positive = 1  # without a byte and without an end
    empty_frames_per_second: Positive = 1
    unknown_frames: Positive = 20
    unknown_frames_per_second: Positive = 2
    continuations: Positive = 8  # of one header block
    header_block_bytes: Positive = 65_536  # as it comes
    header_bytes: Positive = 16_384  # decoded, 32 for each field beside (RFC 9113 §6.5.2); three larger ones in a row end it
    header_fields: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64
    streams: Positive = 100  # at once
    stream_window_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 65_536
    connection_window_bytes: Annotated[int, msgspec.Meta(ge=65_535, le=1 << 30)] = 1 << 20
    outbound_bytes: Positive = 1 << 20  # that wait for the socket; beyond it nothing more is read
    preface_timeout_ms: Positive = 5000
    settings_timeout_ms: Positive = 10_000
    header_timeout_ms: Positive = 10_000
    handshake_timeout_ms: Positive = 5000  # of TLS
    idle_timeout_ms: Positive = 300_000
    max_age_ms: Positive = 1_800_000  # give or take a tenth
    drain_timeout_ms: Positive = 300_000  # for the calls of a connection that is to end
    stalled_stream_timeout_ms: Positive = 30_000  # its consumer does not take what is there, or does not finish a message
    stalled_timeout_ms: Positive = 60_000  # the socket takes nothing
    core_away_ms: Positive = 60_000  # for so long hits go on without a core; then nobody would know of a revocation
    calls_a_core_connection: Positive = 500_000_000  # then a new one: there are 2³⁰ stream numbers (RFC 9113 §5.1.1)
    connections: Positive = 10_000  # of one front
    connections_of_identity: Positive = 1000  # of one client certificate, with one front


class Admin(Section, frozen=True):
    """The operators' side: an HTTP page for monitoring, and a gRPC socket guarded by the file system."""

    http_address: str = "127.0.0.1:9464"
    exposed: bool = False  # the page has no authentication: beyond loopback must be asked for in so many words
    socket: str = "{data_dir}/admin.sock"


class Cache(Section, frozen=True):
    """The answer cache."""

    map_size_mib: Positive = 1024  # fixed: LMDB maps must not be resized while others write
    fill_ratio: Ratio = 0.8  # of the map; beyond it the entries that end soonest are evicted
    max_readers: Positive = 1024
    reader_check_s: Positive = 5


class ControlPlane(Section, frozen=True):
    """Where the catalogue and the grants are kept."""

    url: str = "sqlite:///{data_dir}/control.db"  # without a password
    password_file: str = ""  # path of a file that holds it
    poll_ms: Positive = 250  # a change is in force after at most this and the time to compile it


class Policy(Section, frozen=True):
    """What grants are read by."""

    time_zone: str = "Asia/Shanghai"  # IANA name; hours and days of grants are meant in it
    subject_key_file: str = "{data_dir}/subject.key"  # made if missing; brokers that share a control plane share it


class Identity(Section, frozen=True):
    """Application tokens."""

    audience: str = "shared-data-broker"
    clock_skew_s: NotNegative = 30
    max_token_life_s: Positive = 300
    remembered_tokens: Positive = 10_000


class Limits(Section, frozen=True):
    """What a request may weigh, checked before any work."""

    max_arguments: Positive = 32
    max_argument_bytes: Positive = 1024
    max_token_bytes: Positive = 4096


class Upstream(Section, frozen=True):
    """What holds for every provider."""

    connect_timeout_ms: Positive = 1000
    max_connections_per_provider: Positive = 100
    max_answer_bytes: Positive = 4 << 20
    deadline_margin_ms: Annotated[int, msgspec.Meta(ge=0, lt=100)] = 20  # kept for our own answer; interfaces have 100 or more
    secrets_dir: str = "{data_dir}/secrets"
    breaker_window_calls: Annotated[int, msgspec.Meta(ge=2, le=200)] = 20  # the last ones to a provider; an outage shows within
    breaker_window_ms: Positive = 30_000  # older ones do not count
    breaker_min_calls: Positive = 10  # of the window, before it says anything
    breaker_failure_ratio: Ratio = 0.5
    breaker_slow_ratio: Ratio = 0.8
    breaker_slow_share: Ratio = 0.8  # of the time that the question has; longer is slow
    breaker_rest_ms: Positive = 1000  # between probes; up to half as much more, at random
    breaker_probes: Positive = 3  # answered in a row, and it is over
    retry_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1  # of calls
    retry_per_second: Annotated[float, msgspec.Meta(ge=0, le=100)] = 1.0  # beside
    min_concurrency: Positive = 4  # max_connections_per_provider is the most


class Mounts(Section, frozen=True):
    """Whether the interfaces that are mounted on resources still work."""

    probe_s: Positive = 300  # each interface is probed once in this time
    probes_at_once: Positive = 8


class Records(Section, frozen=True):
    """Record bases, which the broker holds itself."""

    map_size_gib: Positive = 64  # the most that one base may take; address space, not disk


class Audit(Section, frozen=True):
    """The audit log."""

    mode: Literal["durable", "buffered", "off"] = "durable"  # durable: an answer waits for the disk
    directory: str = "{data_dir}/audit"
    origin: str = "shared-data-broker/audit"  # names this log, and the key of its checkpoints, to those who verify
    subject_key_file: str = "{data_dir}/audit-subject.key"  # made if missing; without it nobody's accesses are found any more
    hash: Literal["sha256", "sm3"] = "sha256"  # of a whole log
    segment_mib: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 32  # the last one is read when a process starts
    linger_us: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 200  # that a batch waits for more records
    patience_ms: Positive = 1000  # that an answer waits for the disk; then it may not leave any more
    auditors: tuple[str, ...] = ()  # consumers that may look at it
    witness_files: tuple[str, ...] = ()  # on other mounts; checkpoints are appended
    witness_urls: tuple[str, ...] = ()  # that take checkpoints by POST
    archive_dir: str = "{data_dir}/audit-archive"
    retention_days: Annotated[int, msgspec.Meta(ge=183)] = 1096
    embargo_days: dict[str, Positive] = {}  # by class; of a class that is not here the subject is never told


class Log(Section, frozen=True):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal, else json


class Supervisor(Section, frozen=True):
    """Restarting what dies."""

    backoff_first_ms: Positive = 50
    backoff_max_ms: Positive = 5000
    healthy_after_ms: Positive = 10_000  # alive this long: the next death starts the back-off anew
    spare_core: bool = True  # some 100 MB; without it the successor of a killed core has yet to do its imports


class Config(Section, frozen=True):
    """All settings."""

    data_dir: str = "var"
    grpc: Grpc = Grpc()
    front: Front = Front()
    admin: Admin = Admin()
    cache: Cache = Cache()
    control: ControlPlane = ControlPlane()
    policy: Policy = Policy()
    identity: Identity = Identity()
    limits: Limits = Limits()
    upstream: Upstream = Upstream()
    mounts: Mounts = Mounts()
    records: Records = Records()
    audit: Audit = Audit()
    log: Log = Log()
    supervisor: Supervisor = Supervisor()

    def path(self, template: str) -> Path:
        """Resolve a setting that may start with ``{data_dir}``."""
        return Path(self.expand(template))

    def expand(self, template: str) -> str:
        """Put the data directory into a setting."""
        return template.replace("{data_dir}", str(Path(self.data_dir).resolve()))


def load(file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the settings.

    Raises:
        ConfigurationError: the file is missing or not TOML, a key is unknown, a type is wrong, or the settings contradict
            one another; the text names the file or variable and the path of the key.
    """
    tree = _read_toml(file) if file else {}
    source = str(file) if file else "built-in defaults"
    config = _decode(tree, source)
    for variable, value in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            _overlay(tree, variable, value)
            config = _decode(
                tree, variable, strict=False
            )  # an environment has only text: the setting's type says what it means
    _check(config)
    return config


def schema() -> dict[str, Any]:
    """JSON Schema of the settings file."""
    return msgspec.json.schema(Config)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from error


def _overlay(tree: dict[str, Any], variable: str, value: str) -> None:
    """Write one environment variable into the tree."""
    *sections, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{variable}: `{section}` is not a section")
    tree[key] = value


def _decode(tree: dict[str, Any], source: str, *, strict: bool = True) -> Config:
    try:
        return msgspec.convert(tree, Config, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _check(config: Config) -> None:
    """Refuse settings that their types let through, or that are wrong together."""
    _check_grpc(config.grpc)
    if not is_loopback(_host("admin.http_address", config.admin.http_address)) and not config.admin.exposed:
        raise ConfigurationError(
            "admin.http_address: a page without authentication beyond loopback needs `admin.exposed = true`"
        )
    if config.grpc.default_timeout_ms <= config.upstream.deadline_margin_ms:
        raise ConfigurationError("grpc.default_timeout_ms: must be above upstream.deadline_margin_ms")
    if config.upstream.breaker_min_calls > config.upstream.breaker_window_calls:
        raise ConfigurationError("upstream.breaker_min_calls: must not be above upstream.breaker_window_calls")
    if config.policy.time_zone not in zoneinfo.available_timezones():
        raise ConfigurationError("policy.time_zone: is not a time zone, such as Asia/Shanghai")
    if not all(url.startswith(("https://", "http://")) for url in config.audit.witness_urls):
        raise ConfigurationError("audit.witness_urls: must begin with https:// or http://")
    if _has_password(config.control.url):
        raise ConfigurationError("control.url: must not contain a password; use control.password_file")


def _check_grpc(grpc: Grpc) -> None:
    """Cleartext leaves this machine only where nothing else is meant; what TLS needs is there in full."""
    tls, host = grpc.tls, _host("grpc.address", grpc.address)
    for key, needed in (
        ("certificate_file", "key_file"),
        ("key_file", "certificate_file"),
        ("client_ca_file", "certificate_file"),
        ("client_crl_file", "client_ca_file"),
        ("token_address", "client_ca_file"),
    ):
        if getattr(tls, key) and not getattr(tls, needed):
            raise ConfigurationError(f"grpc.tls.{key}: needs grpc.tls.{needed}")
    if tls.certificate_file and grpc.insecure:
        raise ConfigurationError("grpc.insecure: contradicts grpc.tls.certificate_file; leave one of them out")
    if not is_loopback(host) and not tls.certificate_file and not grpc.insecure:
        raise ConfigurationError("grpc.address: beyond loopback needs grpc.tls, or cleartext by `grpc.insecure = true`")
    if tls.token_address:
        _host("grpc.tls.token_address", tls.token_address)


def _host(setting: str, address: str) -> str:
    parts = _ADDRESS.fullmatch(address)
    if parts is None or int(parts["port"]) not in _PORTS:
        raise ConfigurationError(f"{setting}: must be host:port, the port 1 to 65535, an IPv6 host in brackets")
    return parts["host"]


def _has_password(url: str) -> bool:
    options = urllib.parse.parse_qsl(url.partition("?")[2])
    return _PASSWORD.search(url) is not None or any("password" in name.lower() for name, _ in options)


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

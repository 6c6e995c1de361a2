"""The files that TLS of the consumers' side is made of: found, read, and judged as one set.

What must not go in here: who uses them (tls.py for the core, front_tls.py for a front), revocation lists.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from broker.config import Config
from broker.errors import ConfigurationError, SecretMissing
from broker.policy.certificates import MALFORMED, read_trust

_Seen = tuple[tuple[int, ...] | None, ...]


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; None where there is to be nothing."""

    certificate: Path
    key: Path
    client_ca: Path | None
    client_crl: Path | None

    @classmethod
    def of(cls, config: Config) -> Files:
        """Resolve the settings."""
        tls = config.grpc.tls
        return cls(
            certificate=config.path(tls.certificate_file),
            key=config.path(tls.key_file),
            client_ca=config.path(tls.client_ca_file) if tls.client_ca_file else None,
            client_crl=config.path(tls.client_crl_file) if tls.client_crl_file else None,
        )

    def look(self) -> _Seen:
        """Return something that is different when a file has changed."""
        return tuple(_look(file) for file in (self.certificate, self.key, self.client_ca, self.client_crl) if file)


class Material:
    """One set that fits together."""

    def __init__(self, files: Files) -> None:
        """Read it.

        Raises:
            ConfigurationError: a file other than the key cannot be read, or something does not fit.
            SecretMissing: the key cannot be read.
        """
        self.chain, self.key = read_file("certificate_file", files.certificate), read_file("key_file", files.key)
        self.ends = _check_fit(self.chain, self.key)
        self.authorities = read_file("client_ca_file", files.client_ca) if files.client_ca else b""
        if files.client_ca:
            _check_authorities(self.authorities)


def _look(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def read_file(setting: str, file: Path) -> bytes:
    """Return what is in a file. Raises ConfigurationError, or SecretMissing for the key, naming the setting."""
    try:
        return file.read_bytes()
    except OSError as error:
        kind = SecretMissing if setting == "key_file" else ConfigurationError
        raise kind(f"grpc.tls.{setting}: {file} cannot be read ({error.strerror})") from None


def _check_fit(chain: bytes, key: bytes) -> float:
    """Return when the certificate ends. Says nothing of what stands in a key."""
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        certified = certificate.public_key()
    except (*MALFORMED, IndexError):
        raise ConfigurationError("grpc.tls.certificate_file: does not hold a certificate in PEM") from None
    try:
        held = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError("grpc.tls.key_file: does not hold a private key in PEM, without a password") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if held.public_bytes(*form) != certified.public_bytes(*form):
        raise ConfigurationError("grpc.tls.key_file: is not the key of grpc.tls.certificate_file")
    return certificate.not_valid_after_utc.timestamp()


def _check_authorities(bundle: bytes) -> None:
    try:
        read_trust(bundle, None)
    except MALFORMED as error:
        raise ConfigurationError(f"grpc.tls.client_ca_file: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Return what is wrong, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__

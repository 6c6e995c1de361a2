"""A certificate authority for tests: issues certificates of servers and clients, right ones and wrong ones, and revokes."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLIENTS, SERVERS = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
LOOPBACK = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),)
DAY = dt.timedelta(days=1)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def replace(file: Path, content: bytes) -> Path:
    """Write a file as an operator should: whole, under another name, then renamed."""
    written = file.with_name(f"{file.name}.new")
    written.write_bytes(content)
    return written.replace(file)


def general_name(text: str) -> x509.GeneralName:
    """Read "uri:…" or "dns:…"."""
    kind, _, value = text.partition(":")
    return x509.UniformResourceIdentifier(value) if kind == "uri" else x509.DNSName(value)


class Issued:
    """A certificate and its key, in files."""

    def __init__(self, directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self.key = certificate, key
        self.pem = certificate.public_bytes(Encoding.PEM)
        self.key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.file = replace(directory / f"{name}.pem", self.pem)
        self.key_file = replace(directory / f"{name}.key", self.key_pem)


class Authority:
    """Signs whatever it is asked to. One made with `parent` is an intermediate authority of that one."""

    def __init__(self, directory: Path, name: str = "ca", parent: Authority | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key = ec.generate_private_key(ec.SECP256R1())
        signer, issuer = (parent.own.key, parent.subject) if parent else (key, self.subject)
        builder = _builder(self.subject, issuer, key, _now() - DAY, _now() + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.own = Issued(directory, name, builder.sign(signer, SHA256()), key)

    def issue(
        self,
        name: str,
        *names: str,
        usage: Sequence[ObjectIdentifier] = (CLIENTS,),
        begins: dt.timedelta = -DAY,
        ends: dt.timedelta = DAY,
        addresses: Sequence[x509.GeneralName] = (),
    ) -> Issued:
        """Issue a certificate with this common name and these alternative names, in files called after it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.subject, key, _now() + begins, _now() + ends)
        if names or addresses:
            alternatives = [*(general_name(one) for one in names), *addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        return Issued(self.directory, name, builder.sign(self.own.key, SHA256()), key)

    def revoke(
        self,
        *revoked: Issued,
        issued: dt.timedelta = -2 * DAY,
        ends: dt.timedelta = DAY,
        extension: x509.ExtensionType | None = None,
    ) -> bytes:
        """Return a revocation list in PEM."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        builder = builder.last_update(_now() + issued).next_update(_now() + ends)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(_now())
            builder = builder.add_revoked_certificate(entry.build())
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.own.key, SHA256()).public_bytes(Encoding.PEM)


def self_signed(directory: Path, name: str, *names: str) -> Issued:
    """A certificate that nobody but its holder vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key, _now() - DAY, _now() + DAY)
    builder = builder.add_extension(x509.SubjectAlternativeName([general_name(one) for one in names]), critical=False)
    return Issued(directory, name, builder.sign(key, SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)

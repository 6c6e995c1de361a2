"""Client certificates: what one says of its holder, and whether the authorities and revocation lists in force vouch for it.

The TLS handshake has verified the chain once, and a connection may last for weeks. So what can end meanwhile is judged at
each call: the certificate's time, the issuer's place among the client authorities, and revocation. The issuer of a client's
certificate must itself stand in the bundle (a chain that the client sends along is not known after the handshake), and if there
are revocation lists each such issuer needs one that is signed by it and not past its `nextUpdate`. A list's `thisUpdate` is not
looked at: one from the future revokes no less. Revoked authorities are not covered; take them out of the bundle.

Names are subject alternative names, URI and DNS, taken literally; the common name is nobody's name. What must not go in here:
files (serve/tls.py), and whom a name stands for (identify.py).
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from typing import NamedTuple, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.model.call import Times

_PEM_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
E = TypeVar("E", bound=x509.ExtensionType)

# What cryptography raises of certificates and lists that are not as they should be.
MALFORMED = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


class Span(NamedTuple):
    """Milliseconds since the epoch; the end is no part of it."""

    begins_ms: int
    ends_ms: int

    def holds(self, times: Times) -> bool:
        """Whether now is within, whatever time it can be."""
        return self.begins_ms <= times.earliest_ms and times.latest_ms < self.ends_ms


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of a client's certificate at each call."""

    names: frozenset[str]  # "uri:…", "dns:…", as the catalogue writes them
    thumbprint: str  # SHA-256 of the certificate in DER, base64url, as `cnf.x5t#S256` has it (RFC 8705 §3.1)
    serial: int
    begins_ms: int
    ends_ms: int
    for_clients: bool  # by its extended key usage, if it has one
    parsed: x509.Certificate


class Revocations(msgspec.Struct, frozen=True, kw_only=True):
    """What one issuer has revoked, and until when that is the last word."""

    serials: frozenset[int]
    issued_at: dt.datetime
    ends_ms: int


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate authority whose clients are let in."""

    parsed: x509.Certificate
    ends_ms: int
    revocations: Revocations | None = None

    def span(self, certificate: Certificate, *, lists_needed: bool) -> Span | None:
        """Return from when until when a certificate of this issuer is good, as things stand."""
        listed = self.revocations
        if not certificate.for_clients or (lists_needed and listed is None):
            return None
        ends_ms = min(certificate.ends_ms, self.ends_ms, listed.ends_ms if listed else certificate.ends_ms)
        return Span(certificate.begins_ms, ends_ms)

    def revokes(self, certificate: Certificate) -> bool:
        """Whether its list names the certificate."""
        return self.revocations is not None and certificate.serial in self.revocations.serials


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The client authorities in force. Without any, no certificate is good."""

    authorities: tuple[Authority, ...] = ()
    lists_needed: bool = False

    def span(self, certificate: Certificate) -> Span | None:
        """Return from when until when a certificate is good; costs a verification for each authority of the issuer's name."""
        issuers = [known for known in self.authorities if _issued(known.parsed, certificate.parsed)]
        if any(known.revokes(certificate) for known in issuers):
            return None
        # An authority that was renewed with its key stands there twice; the one that ends last decides.
        spans = (known.span(certificate, lists_needed=self.lists_needed) for known in issuers)
        return max((span for span in spans if span), key=lambda span: span.ends_ms, default=None)

    def without_revocations(self) -> list[str]:
        """Name the authorities whose certificates are refused for want of a list."""
        missing = [known for known in self.authorities if self.lists_needed and known.revocations is None]
        return [known.parsed.subject.rfc4514_string() for known in missing]


NOBODY = Trust()


def read_certificate(pem: bytes) -> Certificate:
    """Read a client's certificate.

    Raises:
        MALFORMED: one of these; it is not a certificate, or one with extensions that cannot be read.
    """
    parsed = x509.load_pem_x509_certificate(pem)
    usage = _extension(parsed, x509.ExtendedKeyUsage)
    return Certificate(
        names=_names(parsed),
        thumbprint=base64.urlsafe_b64encode(parsed.fingerprint(SHA256())).rstrip(b"=").decode(),
        serial=parsed.serial_number,
        begins_ms=_milliseconds(parsed.not_valid_before_utc),
        ends_ms=_milliseconds(parsed.not_valid_after_utc) + 1000,  # the second named is the last
        for_clients=usage is None or ExtendedKeyUsageOID.CLIENT_AUTH in usage,
        parsed=parsed,
    )


def read_trust(bundle: bytes, lists: bytes | None) -> Trust:
    """Read authorities in PEM, and revocation lists in PEM or one in DER; None if there are to be none.

    Raises:
        MALFORMED: one of these; something of it cannot be read, or a certificate in the bundle is not an authority's.
    """
    authorities = x509.load_pem_x509_certificates(bundle)
    if not all(_may(known, "key_cert_sign") for known in authorities):
        raise ValueError("holds a certificate that is not an authority's")
    found = [] if lists is None else [_read_list(one) for one in _PEM_LIST.findall(lists) or [lists]]
    return Trust(authorities=tuple(_authority(known, found) for known in authorities), lists_needed=lists is not None)


def without_lists(bundle: bytes) -> Trust:
    """Return the trust that refuses everybody, for the lists that are needed cannot be read."""
    return msgspec.structs.replace(read_trust(bundle, None), lists_needed=True)


def _read_list(data: bytes) -> x509.CertificateRevocationList:
    pem = data.startswith(b"-----BEGIN")
    found = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
    if any(extension.critical for extension in found.extensions):
        raise ValueError("holds a list that covers a part only (a critical extension)")
    return found


def _authority(parsed: x509.Certificate, lists: list[x509.CertificateRevocationList]) -> Authority:
    found = [_revocations(one) for one in lists if _signed(parsed, one)]
    return Authority(
        parsed=parsed,
        ends_ms=_milliseconds(parsed.not_valid_after_utc) + 1000,
        revocations=max(found, key=lambda one: one.issued_at, default=None),
    )


def _revocations(found: x509.CertificateRevocationList) -> Revocations:
    ends = found.next_update_utc
    return Revocations(
        serials=frozenset(entry.serial_number for entry in found),
        issued_at=found.last_update_utc,
        ends_ms=_milliseconds(ends) if ends else 0,  # RFC 5280 wants one; without it nobody knows how old the list may be
    )


def _signed(authority: x509.Certificate, found: x509.CertificateRevocationList) -> bool:
    if found.issuer != authority.subject or not _may(authority, "crl_sign"):
        return False
    return found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # TypeError is one of MALFORMED


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*MALFORMED, InvalidSignature):
        return False
    return True


def _may(authority: x509.Certificate, what: str) -> bool:
    """Whether an authority may sign certificates or lists (RFC 5280 §4.2.1.3, §4.2.1.9)."""
    constraints = _extension(authority, x509.BasicConstraints)
    usage = _extension(authority, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or bool(getattr(usage, what)))


def _names(parsed: x509.Certificate) -> frozenset[str]:
    found = _extension(parsed, x509.SubjectAlternativeName)
    if found is None:
        return frozenset()
    uris = [f"uri:{name}" for name in found.get_values_for_type(x509.UniformResourceIdentifier)]
    return frozenset([*uris, *(f"dns:{name.lower()}" for name in found.get_values_for_type(x509.DNSName))])


def _extension(parsed: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _milliseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)

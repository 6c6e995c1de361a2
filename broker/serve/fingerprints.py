"""What a core runs by beside the control plane, as the audit log knows it: settings, keys, certificates, by their digests.

Settings have no secrets in them, only the names of their files. A secret key is known by the first bytes of its hash, as
segments of the log name theirs; a certificate by its fingerprint, as `openssl x509 -fingerprint -sha256` tells it; files of
authorities and of revocation lists by the SHA-256 of what is in them. What must not go in here: putting it down
(audit/changes.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker import __version__
from broker.audit.changes import Thing
from broker.audit.subject import KEY_ID_BYTES, SubjectKey
from broker.config import Config
from broker.key_file import open_key
from broker.serve.tls_files import Material


def of_start(settings: Config, audit_key: SubjectKey) -> Mapping[str, Thing]:
    """Return what is the same for as long as a process lives.

    Raises:
        DirectoryUnusable, SecretMissing: the key of counted subjects cannot be used.
    """
    counted = open_key(settings.path(settings.policy.subject_key_file), "policy.subject_key_file")
    return {
        "software": Thing(hashlib.sha256(__version__.encode()).digest()),
        "configuration": Thing(hashlib.sha256(msgspec.json.encode(settings, order="sorted")).digest()),
        "key/audit-subjects": Thing(audit_key.identifier()),
        "key/counted-subjects": Thing(hashlib.sha256(counted).digest()[:KEY_ID_BYTES]),
    }


def of_tls(material: Material, lists: bytes | None) -> Mapping[str, Thing]:
    """Return what TLS of the consumers' side is made of; `lists` are the revocation lists in force; None: not good."""
    leaf = x509.load_pem_x509_certificates(material.chain)[0].public_bytes(Encoding.DER)
    found = {"tls/certificate": leaf, "tls/client-ca": material.authorities, "tls/client-crl": lists or b""}
    return {name: Thing(hashlib.sha256(data).digest() if data else b"") for name, data in found.items()}


def of_checkpoints(verifier: str) -> Mapping[str, Thing]:
    """Return the key that signs checkpoints, by its public half as `checkpoint.vkey` has it."""
    return {"key/checkpoints": Thing(hashlib.sha256(verifier.strip().encode()).digest())}

"""What consumers import: clients, credentials, typed errors. Needs nothing of the server.

from broker.client import Client, TokenSource

tokens = TokenSource("tax-hall", key_file="tax-hall.key")
with Client("127.0.0.1:50051", tokens) as client:
    answer = client.call("national.person.basic", {"resident_id": "…"}, purpose="subsidy-check")
    print(answer.found, answer.fields, answer.provenance.source)
    verdict = client.match("population", {"resident_id": "…"}, {"name": "…"}, purpose="subsidy-check")
    print(verdict.overall, verdict.verdicts["name"].verdict, verdict.status)
    found = client.search("population", {"name": "…", "birth_date": "…"}, purpose="subsidy-check")
    print(found.decision, [(one.probability, one.fields) for one in found.candidates])

With TLS: Client(target, credentials=tls("ca.pem", "tax-hall.pem", "tax-hall-tls.key")), with the certificate alone
or together with TokenSource(…, certificate_file="tax-hall.pem").
"""

from broker.client.answer import Answer, Candidate, Compared, Matched, Provenance, Searched
from broker.client.channel import aio_channel, channel, tls
from broker.client.client import AsyncClient, Client
from broker.client.credentials import TokenSource, generate_key, issue_token, load_key
from broker.client.failures import (
    CallFailed,
    InvalidArguments,
    NotGranted,
    OverRate,
    ProviderFailed,
    TokenRefused,
    decode,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "CallFailed",
    "Candidate",
    "Client",
    "Compared",
    "InvalidArguments",
    "Matched",
    "NotGranted",
    "OverRate",
    "Provenance",
    "ProviderFailed",
    "Searched",
    "TokenRefused",
    "TokenSource",
    "aio_channel",
    "channel",
    "decode",
    "generate_key",
    "issue_token",
    "load_key",
    "tls",
]

"""HTTP providers, over real sockets: answers that are not answers, names and certificates, and what is said of it all."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnavailable,
)
from broker.model.catalogue import Envelope, HttpOperation
from broker.upstream.http import retry_after_s
from tests.http_kit import NOW_MS, Handle, answering, failure
from tests.upstream_kit import (
    GOOD,
    NAME,
    OTHER_PERSON,
    PERSON,
    http_server,
)

# --- UP-03: answers that are not answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (500, ProviderUnavailable, "HTTP_500"),
        (502, ProviderUnavailable, "HTTP_502"),
        (503, ProviderUnavailable, "HTTP_503"),
        (429, ProviderOverloaded, "HTTP_429"),
        (400, ProviderRefused, "HTTP_400"),
        (401, ProviderRefused, "HTTP_401"),
        (403, ProviderRefused, "HTTP_403"),
        (404, ProviderRefused, "HTTP_404"),
        (300, ProviderNonsense, "HTTP_300"),
        (304, ProviderNonsense, "HTTP_304"),
    ],
)
async def test_each_status_has_its_error(status: int, expected: type[ProviderError], code: str) -> None:
    async with http_server(answering(f"{PERSON} {NAME}", status=status)) as base_url:
        error = await failure(base_url)
    assert (type(error), error.upstream_code) == (expected, code)


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/login")

    async with http_server(handle) as base_url:
        assert type(await failure(base_url)) is ProviderNonsense
    assert asked == ["/person"]


@pytest.mark.parametrize(
    ("handle", "defect"),
    [
        (answering("<!DOCTYPE html><title>Log in</title>", content_type="text/html"), "the answer is not json"),
        (answering(""), "the answer is empty"),
        (answering(status=204), "the answer is empty"),
        (answering(json.dumps(GOOD)[:-1]), "the answer is not json"),
        (answering("[" * 100_000), "the answer is not json"),
        (answering(json.dumps(GOOD), charset="utf-16"), "the answer is not json"),
        (answering("[]" * 2), "the answer is not json"),
        (answering('"text"'), "the record is not a set of fields"),
        (answering([GOOD, GOOD]), "more than one record"),
        (answering({"id": PERSON, "full_name": NAME}), "Object missing required field `resident_id`"),
        (answering({"resident_id": PERSON, "name": {"xm": NAME}}), "Expected `str`, got `object` - at `$.name`"),
        (answering(GOOD | {"resident_id": OTHER_PERSON}), "the answer is about another subject"),
        (answering(GOOD | {"resident_id": PERSON[:-1] + "1"}), "resident_id: the check character of the resident id is wrong"),
    ],
)
async def test_what_is_no_answer_is_nonsense_and_says_why(handle: Handle, defect: str) -> None:
    async with http_server(handle) as base_url:
        error = await failure(base_url)
    assert isinstance(error, ProviderNonsense)
    assert error.defect == defect


async def test_a_compressed_answer_that_was_not_asked_for_is_not_unpacked() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.json_response(GOOD)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with http_server(handle) as base_url:
        assert type(await failure(base_url)) is ProviderNonsense


async def test_an_error_inside_a_200_is_an_error() -> None:
    operation = HttpOperation(
        path="/", envelope=Envelope(code="code", success=("0",), faults={"busy": "overloaded", "db-001": "unavailable"})
    )
    for code, expected in {"busy": ProviderOverloaded, "db-001": ProviderUnavailable, "300": ProviderRefused}.items():
        async with http_server(answering({"code": code, "message": f"{PERSON} {NAME}", **GOOD})) as base_url:
            error = await failure(base_url, operation)
        assert (type(error), error.upstream_code) == (expected, code)


# --- UP-06: absurd Retry-After ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", 1.0),
        ("0", 1.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("900", 900.0),
        ("315360000", 900.0),
        ("9" * 8000, 900.0),
        ("-" + "9" * 8000, 1.0),
        ("1e9", None),
        ("NaN", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20", 60.0),
        ("Tue, 14 Nov 1973 22:13:20 GMT", 1.0),
        ("Tue, 14 Nov 2033 22:13:20 GMT", 900.0),
        ("Tue, 99 Nov 2033 22:13:20 GMT", None),
    ],
)
def test_retry_after_is_kept_within_reason(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW_MS) == seconds


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_travels_with_the_error(status: int) -> None:
    async with http_server(answering("", status=status, headers={"Retry-After": "315360000"})) as base_url:
        assert (await failure(base_url)).retry_after_s == 900


# --- UP-07: names and certificates --------------------------------------------------------------------------------------


async def test_a_name_that_does_not_exist_is_unavailable() -> None:
    error = await failure("http://no-such-provider.invalid")
    assert type(error) is ProviderUnavailable


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(GOOD)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self_signed(tmp_path))
    await site.start()
    error = await failure(f"https://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()
    assert type(error) is ProviderUnavailable
    assert asked == []


def self_signed(directory: Path) -> ssl.SSLContext:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1)).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (directory / "both.pem").write_bytes(private + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return context

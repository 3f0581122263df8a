"""The way to an upstream: one request, one answer, and no surprises."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from broker.edge.egress.upstream import (
    CONNECT_S_MAX,
    CONNECTIONS_MAX,
    CONTENT_TYPE_CHARS_MAX,
    IDLE_S_MAX,
    Outgoing,
    Upstream,
    UpstreamError,
)
from broker.edge.vault.credential import parse_base_url
from tests.edge.fake_upstream import FakeUpstream, Reply
from tests.edge.lab import ROOT

SECRET = b"a-secret-of-the-upstream-tests"


@pytest_asyncio.fixture
async def crm() -> AsyncIterator[FakeUpstream]:
    fake = FakeUpstream()
    await fake.start()
    fake.answer = lambda _: Reply(200, {"ok": True})
    yield fake
    await fake.stop()


@pytest_asyncio.fixture
async def upstream(crm) -> AsyncIterator[Upstream]:
    made = Upstream(parse_base_url(crm.url), allow_private=True)
    yield made
    await made.close()


async def go() -> None:
    """Let the request out."""


def outgoing(**changes: object) -> Outgoing:
    plain: dict[str, object] = {
        "method": "GET",
        "target": "/orders/W1?a=%20",
        "body": None,
        "headers": ((b"Authorization", b"Bearer " + SECRET),),
        "key_header": "",
        "key": "",
        "fresh": False,
        "timeout_s": 5.0,
        "response_bytes_max": 1_000,
    }
    return Outgoing(**(plain | changes))  # type: ignore[arg-type]


async def failure(upstream: Upstream, **changes: object) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await upstream.send(outgoing(**changes), guard=go)
    return caught.value


async def test_a_form_is_sent_as_a_form(upstream, crm) -> None:
    form = b"application/x-www-form-urlencoded"
    sent = outgoing(method="POST", body=b"a=1", content_type=form)
    await upstream.send(sent, guard=go)
    [seen] = crm.seen
    assert (seen.body, seen.headers["content-type"]) == (b"a=1", form.decode())


async def test_the_upstream_sees_the_edges_headers_and_nothing_else(
    upstream, crm, monkeypatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    answer = await upstream.send(outgoing(), guard=go)
    assert (answer.status, answer.body) == (200, b'{"ok": true}')
    assert answer.address == crm.url.removeprefix("http://")
    [seen] = crm.seen
    assert seen.target == "/orders/W1?a=%20"
    assert seen.headers == {
        "host": crm.url.removeprefix("http://"),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "counterfoil-edge",
        "authorization": f"Bearer {SECRET.decode()}",
    }


async def test_a_post_carries_its_body_and_its_key(upstream, crm) -> None:
    await upstream.send(
        outgoing(
            method="POST",
            body=b'{"a":1}',
            key_header="Idempotency-Key",
            key="k-1",
            fresh=True,
        ),
        guard=go,
    )
    [seen] = crm.seen
    assert seen.body == b'{"a":1}'
    assert seen.headers["idempotency-key"] == "k-1"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["content-length"] == "7"


async def test_a_base_path_stands_before_every_target(crm) -> None:
    upstream = Upstream(parse_base_url(crm.url + "/v1/"), allow_private=True)
    await upstream.send(outgoing(target="/orders"), guard=go)
    assert crm.seen[0].target == "/v1/orders"
    await upstream.close()


async def test_reads_share_a_connection_and_effects_dial_their_own(
    upstream, crm
) -> None:
    for _ in range(3):
        await upstream.send(outgoing(), guard=go)
    assert crm.connections == 1
    for _ in range(2):
        await upstream.send(outgoing(method="POST", body=b"{}", fresh=True), guard=go)
    assert crm.connections == 3
    assert IDLE_S_MAX > 0


async def test_many_requests_at_once_stay_within_the_connection_limit(
    upstream, crm
) -> None:
    crm.answer = lambda _: Reply(200, {}, delay_s=0.01)
    count = CONNECTIONS_MAX + 8
    await asyncio.gather(*(upstream.send(outgoing(), guard=go) for _ in range(count)))
    assert len(crm.seen) == count
    assert crm.connections <= CONNECTIONS_MAX


async def test_the_guard_runs_before_the_first_byte_and_can_stop_it(
    upstream, crm
) -> None:
    class StopError(Exception):
        pass

    async def guard() -> None:
        assert crm.connections == 1
        assert not crm.seen
        raise StopError

    for fresh in (True, False):
        crm.connections = 0
        with pytest.raises(StopError):
            await upstream.send(outgoing(fresh=fresh), guard=guard)
    await asyncio.sleep(0.05)
    assert not crm.seen


async def test_a_refused_connection_is_surely_not_sent(crm) -> None:
    upstream = Upstream(parse_base_url("http://127.0.0.1:1"), allow_private=True)
    error = await failure(upstream, fresh=True)
    assert (error.code, error.sent) == ("upstream_unreachable", False)
    await upstream.close()
    assert CONNECT_S_MAX > 0


async def test_a_private_address_that_was_not_declared_is_not_dialled(crm) -> None:
    upstream = Upstream(parse_base_url(crm.url), allow_private=False)
    error = await failure(upstream)
    assert (error.code, error.sent) == ("address_refused", False)
    assert crm.connections == 0
    await upstream.close()


async def test_a_dropped_connection_may_have_been_sent(upstream, crm) -> None:
    crm.answer = lambda _: Reply(drop=True)
    error = await failure(upstream, fresh=True)
    assert (error.code, error.sent, error.status) == ("upstream_broken", True, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300])
async def test_a_redirect_is_not_followed(upstream, crm, status) -> None:
    crm.answer = lambda seen: Reply(status, b"", {"location": crm.url + "/elsewhere"})
    error = await failure(upstream)
    assert (error.code, error.sent, error.status) == ("redirect", True, status)
    assert len(crm.seen) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
async def test_an_encoded_answer_is_not_decoded(upstream, crm, coding) -> None:
    crm.answer = lambda _: Reply(200, b"\x1f\x8b", {"content-encoding": coding})
    error = await failure(upstream)
    assert (error.code, error.status) == ("encoding", 200)


async def test_an_answer_of_the_allowed_size_is_taken_and_one_byte_more_is_not(
    upstream, crm
) -> None:
    crm.answer = lambda _: Reply(200, b"x" * 1_000)
    answer = await upstream.send(outgoing(), guard=go)
    assert len(answer.body) == 1_000
    crm.answer = lambda _: Reply(200, b"x" * 1_001)
    error = await failure(upstream)
    assert (error.code, error.sent, error.status) == ("oversized", True, 200)


async def test_an_endless_answer_is_cut_off(upstream, crm) -> None:
    crm.answer = lambda _: Reply(
        raw=b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\n\r\n" + b"x" * 10_000_000
    )
    assert (await failure(upstream)).code == "oversized"


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"x" * 50, delay_s=0.5), Reply(200, b"x" * 50, drip_s=0.5)],
    ids=["late", "drip"],
)
async def test_a_slow_answer_ends_at_the_time_limit(upstream, crm, reply) -> None:
    crm.answer = lambda _: reply
    began = asyncio.get_running_loop().time()
    error = await failure(upstream, timeout_s=0.3)
    assert (error.code, error.sent) == ("upstream_timeout", True)
    assert asyncio.get_running_loop().time() - began < 2


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"",
    ],
)
async def test_a_broken_answer_is_an_error_and_no_answer(upstream, crm, raw) -> None:
    crm.answer = lambda _: Reply(raw=raw)
    error = await failure(upstream)
    assert (error.code, error.sent) == ("upstream_broken", True)


async def test_only_a_plain_content_type_is_passed_on(upstream, crm) -> None:
    at_limit = "a/" + "b" * (CONTENT_TYPE_CHARS_MAX - 2)
    for said, passed in (
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        (at_limit, at_limit),
        (at_limit + "b", "application/octet-stream"),
        ("\xe9", "application/octet-stream"),
        ("", "application/octet-stream"),
    ):
        head = f"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: {said}\r\n\r\n"
        crm.answer = lambda _, head=head: Reply(raw=head.encode("latin-1") + b"{}")
        answer = await upstream.send(outgoing(), guard=go)
        assert answer.content_type == passed


TLS_PROBE = """
import asyncio, sys
from broker.edge.egress.upstream import Outgoing, Upstream, UpstreamError
from broker.edge.vault.credential import parse_base_url

async def go():
    pass

async def main():
    upstream = Upstream(parse_base_url(sys.argv[1]), allow_private=True)
    outgoing = Outgoing(method="GET", target="/x", body=None, headers=(),
                        key_header="", key="", fresh=True, timeout_s=5.0,
                        response_bytes_max=1000)
    try:
        print((await upstream.send(outgoing, guard=go)).status)
    except UpstreamError as error:
        print(error.code, error.sent)
    await upstream.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("localhost", True, "200"),
        ("localhost", False, "upstream_unreachable False"),
        ("127.0.0.1", True, "upstream_unreachable False"),
    ],
    ids=["trusted", "unknown issuer", "another name"],
)
async def test_tls_is_verified_before_anything_is_sent(
    tmp_path, host, trusted, said
) -> None:
    certificate, context = make_certificate(tmp_path, name="localhost")
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    environ = {"PYTHONPATH": str(ROOT)}
    if trusted:
        environ["SSL_CERT_FILE"] = str(certificate)
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", TLS_PROBE, f"https://{host}:{port}",
        env=environ, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await probe.communicate()
    assert out.decode().strip() == said
    assert len(seen) == (said == "200")
    server.close()
    await server.wait_closed()


def make_certificate(folder: Path, *, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a self-signed certificate, and a context that serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path, key_path = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key_path)
    return path, context


async def test_a_not_modified_answer_is_an_answer(upstream, crm) -> None:
    crm.answer = lambda _: Reply(304, b"")
    assert (await upstream.send(outgoing(), guard=go)).status == 304

"""TLS towards an upstream: whom the edge trusts, who it is, which key must answer."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from broker.edge.egress.tls import CONTEXTS_MAX, Tls, TlsError, context_of, pin_of
from broker.edge.egress.upstream import Outgoing, Upstream, UpstreamError
from broker.edge.egress.upstreams import UPSTREAMS_MAX, Upstreams
from broker.edge.vault.access import Access, access_with
from broker.edge.vault.credential import Credential, parse_base_url


@dataclass(frozen=True)
class Party:
    """A key and its self-signed certificate."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def pin(self) -> str:
        return pin_of(self.certificate.public_bytes(Encoding.DER))


def party(name: str) -> Party:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return Party(made, key)


SERVER, CLIENT, STRANGER = party("localhost"), party("edge"), party("localhost")


@dataclass
class Upstreamed:
    """A TLS server, and what it saw."""

    url: str = ""
    seen: list[bytes] = field(default_factory=list)
    clients: list[bytes | None] = field(default_factory=list)


@asynccontextmanager
async def serving(
    folder: Path, *, wants_client: bool = False
) -> AsyncIterator[Upstreamed]:
    """Serve TLS on loopback as SERVER."""
    for name, data in (("c.pem", SERVER.pem.encode()), ("k.pem", SERVER.key_pem)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=CLIENT.pem)
    made = Upstreamed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = writer.get_extra_info("ssl_object")
        made.clients.append(session.getpeercert(binary_form=True))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                made.seen.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (OSError, EOFError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    made.url = f"https://localhost:{port}"
    yield made
    server.close()


def outgoing(headers: tuple[tuple[bytes, bytes], ...] = ()) -> Outgoing:
    return Outgoing(
        method="GET", target="/x", body=None, headers=headers, key_header="", key="",
        fresh=False, timeout_s=10, response_bytes_max=100,
    )  # fmt: skip


async def go() -> None:
    pass


async def send(url: str, tls: Tls) -> int:
    upstream = Upstream(parse_base_url(url), allow_private=True, tls=tls)
    try:
        return (await upstream.send(outgoing(), guard=go)).status
    finally:
        await upstream.close()


async def refused(url: str, tls: Tls) -> str:
    with pytest.raises(UpstreamError) as caught:
        await send(url, tls)
    assert not caught.value.sent
    return caught.value.code


async def test_only_the_pinned_key_is_spoken_to(tmp_path) -> None:
    async with serving(tmp_path) as server:
        pins = frozenset({STRANGER.pin, SERVER.pin})
        assert await send(server.url, Tls(ca=SERVER.pem, pins=pins)) == 200
        assert len(server.seen) == 1
        # The certificate is as good as before; its key is not the one that was named.
        other = Tls(ca=SERVER.pem, pins=frozenset({STRANGER.pin}))
        assert await refused(server.url, other) == "pin_refused"
        assert len(server.seen) == 1


async def test_a_pin_is_no_trust(tmp_path) -> None:
    async with serving(tmp_path) as server:
        pinned = frozenset({SERVER.pin})
        for tls in (Tls(pins=pinned), Tls(ca=STRANGER.pem, pins=pinned)):
            assert await refused(server.url, tls) == "upstream_unreachable"
        wrong_name = server.url.replace("localhost", "127.0.0.1")
        found = await refused(wrong_name, Tls(ca=SERVER.pem, pins=pinned))
        assert found == "upstream_unreachable"
        assert server.seen == []


async def test_the_edge_shows_its_certificate_where_it_has_one(tmp_path) -> None:
    async with serving(tmp_path, wants_client=True) as server:
        mine = Tls(ca=SERVER.pem, certificate=CLIENT.pem, key=CLIENT.key_pem)
        assert await send(server.url, mine) == 200
        assert server.clients == [CLIENT.certificate.public_bytes(Encoding.DER)]
        with pytest.raises(UpstreamError):
            await send(server.url, Tls(ca=SERVER.pem))
        assert len(server.seen) == 1
    assert "PRIVATE" not in repr(mine)


def test_a_certificate_and_a_key_that_do_not_belong_together_are_refused() -> None:
    locked = CLIENT.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    for key in (STRANGER.key_pem, b"", locked):
        with pytest.raises(TlsError, match="belong together"):
            context_of(Tls(certificate=CLIENT.pem, key=key))
    with pytest.raises(TlsError, match="none"):
        context_of(
            Tls(ca="-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----")
        )


def test_contexts_without_a_key_are_shared() -> None:
    assert context_of(Tls(ca=SERVER.pem)) is context_of(Tls(ca=SERVER.pem))
    one = Tls(ca=SERVER.pem, certificate=CLIENT.pem, key=CLIENT.key_pem)
    assert context_of(one) is not context_of(one)
    assert CONTEXTS_MAX >= UPSTREAMS_MAX


def access(url: str, *, version: int = 1) -> Access:
    credential = Credential(
        tenant="demo", environment="dev", connector="x", version=version, kind="mtls",
        base_url=url, allow_private=True,
        settings={"certificate": CLIENT.pem, "ca": SERVER.pem, "pins": SERVER.pin},
    )  # fmt: skip
    return access_with(credential, CLIENT.key_pem)


async def test_reads_with_a_client_certificate_share_a_connection(tmp_path) -> None:
    async with serving(tmp_path, wants_client=True) as server:
        upstreams = Upstreams()
        for _ in range(3):
            await upstreams.send(access(server.url).route, outgoing(), go)
        assert (len(server.seen), len(server.clients)) == (3, 1)
        await upstreams.close()


async def test_pools_of_upstreams_that_are_not_used_any_more_are_let_go() -> None:
    async def nobody(_host: str, _port: int) -> list[str]:
        return []

    upstreams = Upstreams(nobody)
    for number in range(UPSTREAMS_MAX + 3):
        plain = Credential(
            tenant="demo", environment="dev", connector="x", version=1, kind="bearer",
            base_url=f"https://crm{number}.test", allow_private=False,
        )  # fmt: skip
        with pytest.raises(UpstreamError, match="address"):
            await upstreams.send(access_with(plain, b"x" * 16).route, outgoing(), go)
    assert upstreams.kept == UPSTREAMS_MAX
    await upstreams.close()

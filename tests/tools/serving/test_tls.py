"""Brokers reach the runner over mutual TLS, and nobody without a certificate does."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import SentState
from broker.effects.executor import SocketExecutor
from broker.effects.runner.place import PlaceError, TlsRunner, tls_runner
from broker.settings import SettingsError as BrokerSettingsError
from broker.settings import read_settings as read_brokers
from tests.edge.lab import ISSUER, WARRANT_KEY
from tests.edge.process import CATALOG, make_edge
from tests.support.certificates import Authority, Pair
from tests.support.crm import Crm, crm, crm_process
from tests.support.fake_edge import FakeEdge, RunnerClient, pack, write_catalog
from tests.test_settings import NEEDED
from tools import limits
from tools.dispatcher import Dispatcher
from tools.serving import listening
from tools.settings import Settings, SettingsError, TlsPlace, read_settings

__all__ = ["crm", "crm_process"]

SOFIA = "sofia_li_9219"
REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@dataclass
class Parties:
    """Who signs for runners, who for brokers, and what both were given."""

    runners: Authority
    brokers: Authority
    strangers: Authority
    runner: Pair
    broker: Pair

    def place(self, **changes: Any) -> TlsPlace:
        """Return what the runner is told."""
        plain = TlsPlace(
            host="127.0.0.1",
            port=0,
            certificate=self.runner.certificate,
            key=self.runner.key,
            client_ca=self.brokers.file,
        )
        return replace(plain, **changes)

    def reach(self, port: int, pair: Pair | None = None) -> TlsRunner:
        """Return what the broker is told."""
        shown = pair or self.broker
        return tls_runner(
            f"tls://127.0.0.1:{port}",
            certificate=shown.certificate,
            key=shown.key,
            server_ca=self.runners.file,
        )


@pytest.fixture
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    folder = tmp_path_factory.mktemp("pki")
    runners, brokers = Authority(folder, "runners"), Authority(folder, "brokers")
    return Parties(
        runners,
        brokers,
        Authority(folder, "strangers"),
        runners.issue("runner", use="server"),
        brokers.issue("broker", use="client"),
    )


@pytest.fixture
async def dispatcher(tmp_path: Path, parties: Parties) -> AsyncIterator[Dispatcher]:
    catalog = tmp_path / "catalog"
    write_catalog(catalog, "def echo(call): return {}", tools={"echo": {}})
    async with FakeEdge(tmp_path / "edge.sock") as edge:
        made = Dispatcher(
            Settings(tmp_path / "r.sock", edge.path, catalog, tls=parties.place())
        )
        await made.start()
        try:
            yield made
        finally:
            await made.close()


async def asked(port: int, context: ssl.SSLContext) -> dict[str, object]:
    """Ask the runner how it confines, as whoever a context makes of us."""
    streams = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    client = RunnerClient(*streams)
    try:
        return await client.ask({"op": "sandbox"})
    finally:
        client.close()


async def test_a_broker_with_its_certificate_is_answered_and_there_is_no_socket(
    dispatcher: Dispatcher, parties: Parties, tmp_path: Path
):
    context = parties.reach(dispatcher.port).context
    answer = await asked(dispatcher.port, context)
    assert answer["ok"] is True
    assert not (tmp_path / "r.sock").exists()


async def test_a_client_without_a_certificate_is_refused(dispatcher, parties: Parties):
    context = ssl.create_default_context(cafile=parties.runners.file)
    with pytest.raises(REFUSED):
        await asked(dispatcher.port, context)


async def test_a_foreign_outdated_or_misused_certificate_is_refused(
    dispatcher, parties: Parties
):
    for pair in (
        parties.strangers.issue("broker-of-strangers", use="client"),
        parties.runners.issue("another-runner", use="client"),
        parties.brokers.issue("outdated", use="client", hours=-1),
        parties.brokers.issue("misused", use="server"),
    ):
        reach = parties.reach(dispatcher.port, pair)
        with pytest.raises(REFUSED):
            await asked(dispatcher.port, reach.context)
    assert (await asked(dispatcher.port, parties.reach(1).context))["ok"] is True


async def test_an_older_protocol_is_refused_even_with_the_certificate(
    dispatcher, parties: Parties
):
    context = parties.reach(dispatcher.port).context
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(REFUSED):
        await asked(dispatcher.port, context)


async def test_plain_frames_on_the_port_get_no_answer(dispatcher: Dispatcher):
    reader, writer = await asyncio.open_connection("127.0.0.1", dispatcher.port)
    writer.write(pack({"op": "sandbox"}))
    assert b"sandbox" not in await _rest(reader)
    writer.close()


async def test_frames_over_tls_have_the_same_limits(dispatcher, parties: Parties):
    context = parties.reach(dispatcher.port).context
    streams = await asyncio.open_connection("127.0.0.1", dispatcher.port, ssl=context)
    client = RunnerClient(*streams)
    answer = await client.ask({"op": "x" * limits.REQUEST_BYTES_MAX})
    assert answer["error"]["code"] == "bad_request"
    assert await client.reader.read() == b""
    client.close()


async def test_a_peer_that_shows_nothing_is_let_go(dispatcher, parties, monkeypatch):
    monkeypatch.setattr(limits, "HANDSHAKE_S_MAX", limits.HANDSHAKE_S_MAX / 50)
    place = replace(parties.place(), port=0)
    server = await listening.listen(_never, at=place)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(4):
        assert await _rest(reader) == b""
    writer.close()
    server.close()


async def _never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raise AssertionError(reader, writer)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_broker_does_not_speak_to_a_runner_that_it_does_not_know(
    dispatcher, parties: Parties
):
    shown = parties.broker
    runner = tls_runner(
        f"tls://127.0.0.1:{dispatcher.port}",
        certificate=shown.certificate,
        key=shown.key,
        server_ca=parties.strangers.file,
    )
    executor = SocketExecutor(
        runner, issuer=ISSUER, key=WARRANT_KEY, receipt_key=Path("none")
    )
    with pytest.raises(ExecutorUnavailableError):
        await executor.address()


async def test_a_call_goes_all_the_way_over_tls(
    tmp_path_factory, parties: Parties, pg_edge_dsn: str, crm: Crm
):
    folder = tmp_path_factory.mktemp("x")
    edge = make_edge(
        folder, database=pg_edge_dsn, crm_url=crm.url, credential=crm.credential
    )
    settings = Settings(folder / "no", edge.socket, CATALOG, tls=parties.place())
    dispatcher = Dispatcher(settings)
    receipts = edge.state / "public" / "edge" / "receipt.jwk"
    try:
        await edge.start()
        await dispatcher.start()
        known, stranger = (
            SocketExecutor(
                parties.reach(dispatcher.port, pair),
                issuer=ISSUER,
                key=WARRANT_KEY,
                receipt_key=receipts,
            )
            for pair in (None, parties.strangers.issue("stranger", use="client"))
        )
        assert await known.address()
        order = edge.order("customers.get", {}, customer_id=SOFIA)
        ran = await known.run(order, timeout_s=10)
        assert ran.receipt is not None
        assert ran.receipt.state is SentState.ANSWERED
        assert ran.result is not None
        assert ran.result["customer_id"] == SOFIA
        with pytest.raises(ExecutorUnavailableError):
            await stranger.address()
        await known.close()
    finally:
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)


def test_files_that_cannot_be_used_are_named_on_both_sides(parties: Parties):
    gone, text = parties.runner.key.with_name("gone"), parties.runner.key.with_name("t")
    text.write_text("no certificate")
    text.chmod(0o600)
    locked = parties.brokers.issue("locked", use="client", password=b"secret")
    for changes in (
        {"key": gone},
        {"certificate": text},
        {"client_ca": text},
        {"client_ca": gone},
        {"certificate": locked.certificate, "key": locked.key},
    ):
        with pytest.raises(SettingsError, match="cannot be used"):
            listening.server_context(parties.place(**changes))
    for pair in (Pair(text, text), locked, Pair(gone, gone)):
        with pytest.raises(PlaceError, match="cannot be used"):
            parties.reach(1, pair)
    for pair in (parties.runner, parties.broker):
        pair.key.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        listening.server_context(parties.place())
    with pytest.raises(PlaceError, match="chmod 600"):
        parties.reach(1)


WRONG = (
    *("tcp://127.0.0.1:1", "tls://127.0.0.1", "tls://:1", "tls://h:1/x", "tls://h:x"),
    *("tls://u@h:1", "tls://h:70000", "tls://[::1:1", "tls://h:1?x"),
)


@pytest.mark.parametrize("address", WRONG)
def test_an_address_is_a_host_and_a_port(address: str, monkeypatch, parties: Parties):
    monkeypatch.setenv("COUNTERFOIL_RUNNER_LISTEN", address)
    with pytest.raises(SettingsError, match="tls://HOST:PORT"):
        read_settings()
    with pytest.raises(PlaceError, match="tls://HOST:PORT"):
        tls_runner(
            address,
            certificate=parties.broker.certificate,
            key=parties.broker.key,
            server_ca=parties.runners.file,
        )


def test_the_settings_of_both_name_what_is_missing(parties: Parties, monkeypatch):
    runner = {
        "COUNTERFOIL_RUNNER_LISTEN": "tls://127.0.0.1:8470",
        "COUNTERFOIL_RUNNER_TLS_CERTIFICATE_FILE": str(parties.runner.certificate),
        "COUNTERFOIL_RUNNER_TLS_KEY_FILE": str(parties.runner.key),
        "COUNTERFOIL_RUNNER_TLS_CLIENT_CA_FILE": str(parties.brokers.file),
    }
    others = dict.fromkeys(("COUNTERFOIL_EDGE_SOCKET", "COUNTERFOIL_CATALOG"), "/x")
    for name, value in {**runner, **others}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("COUNTERFOIL_RUNNER_SOCKET", raising=False)
    assert read_settings().tls == replace(parties.place(), port=8470)
    broker = {
        "COUNTERFOIL_RUNNER_SOCKET": "tls://127.0.0.1:8470",
        "COUNTERFOIL_RUNNER_TLS_CERTIFICATE_FILE": str(parties.broker.certificate),
        "COUNTERFOIL_RUNNER_TLS_KEY_FILE": str(parties.broker.key),
        "COUNTERFOIL_RUNNER_TLS_SERVER_CA_FILE": str(parties.runners.file),
    }
    told = read_brokers(NEEDED | broker).runner_tls
    assert told is not None
    assert (told.host, told.port) == ("127.0.0.1", 8470)
    assert read_brokers(NEEDED).runner_tls is None
    for name in [*broker][1:]:
        with pytest.raises(BrokerSettingsError, match=name):
            read_brokers(NEEDED | broker | {name: ""})
    for name in [*runner][1:]:
        monkeypatch.setenv(name, "")
        with pytest.raises(SettingsError, match=name):
            read_settings()
        monkeypatch.setenv(name, runner[name])

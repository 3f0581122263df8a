"""The way to the edge: what it says is believed, what it does not say is not."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.support.fake_edge import FakeEdge, claims_of, pack, warrant
from tools import limits
from tools.edge_link import EdgeLink, EdgeRefusedError, EdgeUnavailableError
from tools.limits import EDGE_ANSWER_S_MAX, EDGE_FRAME_BYTES_MAX


@contextlib.asynccontextmanager
async def answering(path: Path, answer: bytes):
    """Serve an edge that says the same to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10_000):
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    link = EdgeLink(path)
    try:
        yield link
    finally:
        link.close()
        server.close()
        await asyncio.sleep(0.01)


async def test_an_accepted_warrant_opens_a_connection(edge: FakeEdge):
    link = EdgeLink(edge.path)
    with await link.open_call(warrant(jti="w")) as peer:
        assert peer.getblocking()
        assert edge.warrants == ["w"]


async def test_a_refused_warrant_opens_none_and_says_why(edge: FakeEdge):
    edge.refuse = "warrant_spent"
    with pytest.raises(EdgeRefusedError) as refused:
        await EdgeLink(edge.path).open_call(warrant())
    assert refused.value.code == "warrant_spent"


async def test_an_edge_that_does_not_listen_is_unavailable(tmp_path):
    link = EdgeLink(tmp_path / "nobody.sock")
    with pytest.raises(EdgeUnavailableError):
        await link.open_call(warrant())
    with pytest.raises(EdgeUnavailableError):
        await link.hello("n")


async def test_control_connections_are_used_again(edge: FakeEdge):
    link = EdgeLink(edge.path)
    for number in range(5):
        receipt = claims_of(await link.receipt(f"w{number}"))
        assert receipt["warrant"] == f"w{number}"
    assert edge.controls == 1
    link.close()


async def test_questions_at_once_use_connections_of_their_own(edge: FakeEdge):
    link = EdgeLink(edge.path)
    asked = [link.hello(str(number)) for number in range(12)]
    answers = [claims_of(one)["nonce"] for one in await asyncio.gather(*asked)]
    assert answers == [str(number) for number in range(12)]
    await asyncio.gather(*[link.hello(str(number)) for number in range(12)])
    assert edge.controls <= 16
    link.close()


async def test_an_edge_that_was_restarted_is_asked_anew(edge: FakeEdge):
    link = EdgeLink(edge.path)
    await link.receipt("w1")
    edge.drop()
    await asyncio.sleep(0.01)
    assert claims_of(await link.receipt("w2"))["warrant"] == "w2"
    assert edge.controls == 2
    link.close()


async def test_a_refused_question_keeps_its_connection(edge: FakeEdge):
    edge.without_receipts = True
    link = EdgeLink(edge.path)
    for _ in range(3):
        with pytest.raises(EdgeRefusedError):
            await link.receipt("w")
    assert edge.controls == 1
    link.close()


async def test_a_question_carries_action_and_nonce(edge: FakeEdge):
    link = EdgeLink(edge.path)
    jws = await link.ask(warrant_id="w", action="a", nonce="n")
    assert claims_of(jws) == {"warrant": "w", "nonce": "n", "state": "not_sent"}
    link.close()


@pytest.mark.parametrize(
    "answer",
    [
        pack({"ok": True}),
        pack({"ok": True, "receipt": 1}),
        pack({"ok": False}),
        pack({"ok": "yes", "receipt": "x"}),
        pack([1]),
        (3).to_bytes(4, "big") + b"\xff\xff\xff",
        (0).to_bytes(4, "big"),
        (EDGE_FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_an_answer_outside_the_protocol_is_no_answer(tmp_path, answer):
    async with answering(tmp_path / "edge.sock", answer) as link:
        with pytest.raises(EdgeUnavailableError):
            await link.receipt("w")


async def test_the_longest_answer_is_taken(tmp_path):
    answer = pack({"ok": True, "receipt": ""})
    text = "x" * (EDGE_FRAME_BYTES_MAX - len(answer) + 4)
    async with answering(
        tmp_path / "edge.sock", pack({"ok": True, "receipt": text})
    ) as link:
        assert await link.receipt("w") == text


async def test_an_edge_that_stays_silent_is_given_up(edge: FakeEdge, monkeypatch):
    # A runner's answer must still reach a broker that waits a little longer than this.
    assert EDGE_ANSWER_S_MAX <= 5
    monkeypatch.setattr(limits, "EDGE_ANSWER_S_MAX", 0.2)
    edge.silent = True
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(EdgeUnavailableError):
        await EdgeLink(edge.path).open_call(warrant())
    assert 0.2 <= loop.time() - started < 1

"""The executor: only the edge's receipt for this very warrant says what happened."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.frames import HEADER_BYTES, decode_body
from broker.core.jwk import Algorithm, PrivateKey
from broker.core.jws import sign, verify
from broker.core.warrants.orders import (
    Hello,
    hello_claims,
    parse_warrant,
    receipt_claims,
)
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import (
    EDGE_HELLO_TYP,
    RECEIPT_TYP,
    WARRANT_TYP,
    Receipt,
    SentState,
    Warrant,
)
from broker.effects.clock import RandomIds
from broker.effects.executor import (
    ASK_S_MAX,
    CONNECTIONS_MAX,
    FRAME_MAX,
    HELLO_KEPT_S,
    SocketExecutor,
)
from broker.effects.keyfiles import publish_key
from tests.support.fake_edge import pack
from tests.support.identities import ISSUER, key_of

EDGE_KEY = key_of("edge", Algorithm.EDDSA)
WARRANT_KEY = key_of("warrants", Algorithm.EDDSA)
IDS = RandomIds()
Answer = Callable[[dict[str, Any]], Awaitable[Any]]


def warrant() -> Warrant:
    now = datetime.now(UTC).replace(microsecond=0)
    return Warrant(
        warrant_id=IDS.new(),
        action_id=IDS.new(),
        tenant="demo",
        environment="dev",
        connector="retail",
        tool="orders.get",
        manifest="0" * 64,
        arguments={"order_id": "W1"},
        customer_id="c",
        agent_id="a",
        edge="edge-1",
        boot="boot-1",
        epochs=(),
        idempotency_key="k",
        issued_at=now,
        expires_at=now + timedelta(seconds=5),
    )


@dataclass
class FakeRunner:
    """A runner on a unix socket; ``run`` and ``ask`` can be told to answer otherwise.

    Bytes are sent as they are and end the connection, None ends it without an answer.
    """

    path: Path
    key: PrivateKey = EDGE_KEY
    boot: str = "boot-1"
    hello_nonce: str = ""
    run: Answer | None = None
    ask: Answer | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    at_once_most: int = 0
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def receipt(self, warrant_id: str, action_id: str, **changes: Any) -> str:
        made = Receipt(
            warrant_id=warrant_id,
            action_id=action_id,
            edge="edge-1",
            boot=self.boot,
            nonce="",
            state=SentState.ANSWERED,
            upstream_status=200,
            values={},
            requests=(),
            alarms=(),
            issued_at=datetime.now(UTC).replace(microsecond=0),
        )
        return sign(
            receipt_claims(replace(made, **changes)), key=self.key, typ=RECEIPT_TYP
        )

    def ops(self) -> list[str]:
        return [message["op"] for message in self.seen]

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # The broker hung up, or the test is over.
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
            body = await reader.readexactly(size)
            message = decode_body(body, frame_max=FRAME_MAX)
            self.seen.append(message)
            answer = await self._answer(message)
            if answer is None:
                break
            writer.write(answer if isinstance(answer, bytes) else pack(answer))
            await writer.drain()
            if isinstance(answer, bytes):
                break

    async def _answer(self, message: dict[str, Any]) -> Any:
        match message["op"]:
            case "hello":
                nonce = self.hello_nonce or message["nonce"]
                said = Hello("edge-1", self.boot, nonce, datetime.now(UTC))
                token = sign(hello_claims(said), key=self.key, typ=EDGE_HELLO_TYP)
                return {"ok": True, "edge_hello": token}
            case "run":
                return await (self.run or self.done)(message)
            case _:
                return await (self.ask or self.asked)(message)

    async def done(self, message: dict[str, Any]) -> dict[str, Any]:
        keys = {WARRANT_KEY.kid: WARRANT_KEY.public()}
        read = parse_warrant(verify(message["warrant"], keys=keys, typ=WARRANT_TYP))
        token = self.receipt(read.warrant_id, read.action_id)
        return {"ok": True, "result": {"status": "ok"}, "receipt": token}

    async def asked(self, message: dict[str, Any]) -> dict[str, Any]:
        where = (message["warrant"], message["action"])
        token = self.receipt(
            *where,
            nonce=message["nonce"],
            state=SentState.NOT_SENT,
            upstream_status=0,
        )
        return {"ok": True, "receipt": token}

    async def crowded(self, message: dict[str, Any]) -> dict[str, Any]:
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        await asyncio.sleep(0.2)
        self.at_once -= 1
        return await self.done(message)


@dataclass
class Stage:
    runner: FakeRunner
    executor: SocketExecutor


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    runner = FakeRunner(tmp_path / "r.sock")
    publish_key(tmp_path / "receipt.jwk", EDGE_KEY.public())
    executor = SocketExecutor(
        str(runner.path),
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=tmp_path / "receipt.jwk",
    )
    server = await asyncio.start_unix_server(runner.serve, str(runner.path))
    yield Stage(runner, executor)
    await executor.close()
    server.close()
    for task in runner.serving:
        task.cancel()
    await asyncio.gather(*runner.serving, return_exceptions=True)


def always(answer: Any) -> Answer:
    async def give(_: dict[str, Any]) -> Any:
        return answer

    return give


async def test_a_run_gives_the_result_and_the_verified_receipt(stage: Stage) -> None:
    order = warrant()
    ran = await stage.executor.run(order, timeout_s=5)
    assert (ran.result, ran.error) == ({"status": "ok"}, None)
    assert ran.receipt is not None
    assert ran.receipt.action_id == order.action_id
    assert stage.runner.ops() == ["run"]
    assert stage.runner.seen[0]["deadline_ms"] == 5_000


async def test_a_connection_is_used_again(stage: Stage) -> None:
    for _ in range(5):
        await stage.executor.run(warrant(), timeout_s=5)
    assert stage.runner.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x03{x}",
        (FRAME_MAX + 1).to_bytes(4, "big"),
    ],
    ids=repr,
)
async def test_after_an_answer_that_was_lost_the_edge_is_asked(
    stage: Stage, answer: bytes | None
) -> None:
    async def lost(_: dict[str, Any]) -> bytes | None:
        return answer

    stage.runner.run = lost
    ran = await stage.executor.run(warrant(), timeout_s=1)
    assert stage.runner.ops() == ["run", "ask"]
    assert ran.result is None
    assert ran.error is not None
    assert ran.error.code == "lost"
    assert ran.receipt is not None
    assert ran.receipt.state is SentState.NOT_SENT


async def test_an_answer_as_long_as_the_limit_is_read(stage: Stage) -> None:
    async def long(message: dict[str, Any]) -> bytes:
        answer = await stage.runner.done(message)
        answer["result"] = {"text": ""}
        answer["result"]["text"] = "x" * (FRAME_MAX + HEADER_BYTES - len(pack(answer)))
        data = pack(answer)
        assert len(data) == FRAME_MAX + HEADER_BYTES
        return data

    stage.runner.run = long
    ran = await stage.executor.run(warrant(), timeout_s=5)
    assert ran.result is not None
    assert stage.runner.ops() == ["run"]


async def test_an_answer_without_a_receipt_is_asked_for_and_keeps_its_reason(
    stage: Stage,
) -> None:
    error = {"code": "edge_refused", "detail": "revoked"}
    stage.runner.run = always({"ok": False, "error": error})
    ran = await stage.executor.run(warrant(), timeout_s=1)
    assert stage.runner.ops() == ["run", "ask"]
    assert ran.error is not None
    assert ran.error.code == "revoked"


async def test_nobody_knows_what_happened_when_the_edge_cannot_say(
    stage: Stage,
) -> None:
    stage.runner.run, stage.runner.ask = always(None), always(None)
    ran = await stage.executor.run(warrant(), timeout_s=1)
    assert (ran.result, ran.receipt) == (None, None)


@pytest.mark.parametrize("field", ["warrant_id", "action_id"])
async def test_a_receipt_for_another_action_counts_for_nothing(
    stage: Stage, field: str
) -> None:
    order = warrant()
    named = {"warrant_id": order.warrant_id, "action_id": order.action_id}
    token = stage.runner.receipt(**named | {field: IDS.new()})
    stage.runner.run = always({"ok": True, "result": {}, "receipt": token})
    with pytest.raises(ExecutorUnavailableError, match="another action"):
        await stage.executor.run(order, timeout_s=1)


@pytest.mark.parametrize("what", ["run", "ask", "hello"])
async def test_what_another_key_signed_counts_for_nothing(
    stage: Stage, what: str
) -> None:
    stage.runner.key = key_of("forger", Algorithm.EDDSA)
    calls = {
        "run": lambda: stage.executor.run(warrant(), timeout_s=1),
        "ask": lambda: stage.executor.ask(IDS.new(), IDS.new()),
        "hello": stage.executor.address,
    }
    with pytest.raises(ExecutorUnavailableError, match="does not verify"):
        await calls[what]()


async def test_a_greeting_is_no_receipt(stage: Stage) -> None:
    said = Hello("edge-1", "boot-1", "", datetime.now(UTC))
    token = sign(hello_claims(said), key=EDGE_KEY, typ=EDGE_HELLO_TYP)
    stage.runner.run = always({"ok": True, "receipt": token})
    with pytest.raises(ExecutorUnavailableError, match="does not verify"):
        await stage.executor.run(warrant(), timeout_s=1)


async def test_an_old_answer_of_the_edge_counts_for_nothing(stage: Stage) -> None:
    order = (IDS.new(), IDS.new())
    token = stage.runner.receipt(*order, nonce="of-yesterday")
    stage.runner.ask = always({"ok": True, "receipt": token})
    with pytest.raises(ExecutorUnavailableError, match="old one"):
        await stage.executor.ask(*order)
    stage.runner.hello_nonce = "of-yesterday"
    with pytest.raises(ExecutorUnavailableError, match="old one"):
        await stage.executor.address()


@pytest.mark.parametrize("answer", [{"ok": False}, {"ok": True}, {}])
async def test_an_edge_that_cannot_say_is_not_taken_for_not_sent(
    stage: Stage, answer: dict[str, Any]
) -> None:
    stage.runner.ask = always(answer)
    with pytest.raises(ExecutorUnavailableError, match="cannot say"):
        await stage.executor.ask(IDS.new(), IDS.new())


async def test_a_question_that_is_not_answered_ends_in_time(stage: Stage) -> None:
    async def never(_: dict[str, Any]) -> None:
        await asyncio.sleep(3 * ASK_S_MAX)

    stage.runner.ask = never
    begun = time.monotonic()
    with pytest.raises(ExecutorUnavailableError, match="did not answer"):
        await stage.executor.ask(IDS.new(), IDS.new())
    assert ASK_S_MAX <= time.monotonic() - begun < 2 * ASK_S_MAX


async def test_a_runner_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    executor = SocketExecutor(
        str(tmp_path / "none.sock"),
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=tmp_path / "none.jwk",
    )
    with pytest.raises(ExecutorUnavailableError):
        await executor.address()
    with pytest.raises(ExecutorUnavailableError):
        await executor.run(warrant(), timeout_s=1)


async def test_an_address_is_kept_a_moment_and_then_asked_for_again(
    stage: Stage,
) -> None:
    assert await stage.executor.address() == ("edge-1", "boot-1")
    stage.runner.boot = "boot-2"
    assert await stage.executor.address() == ("edge-1", "boot-1")
    await asyncio.sleep(HELLO_KEPT_S + 0.1)
    assert await stage.executor.address() == ("edge-1", "boot-2")


async def test_after_a_refusal_the_edge_is_greeted_at_once(stage: Stage) -> None:
    await stage.executor.address()
    stage.runner.boot = "boot-2"
    error = {"code": "edge_refused", "detail": "other_boot"}
    stage.runner.run = always({"ok": False, "error": error})
    await stage.executor.run(warrant(), timeout_s=1)
    assert await stage.executor.address() == ("edge-1", "boot-2")


async def test_so_many_calls_run_at_once_and_the_next_one_waits(stage: Stage) -> None:
    stage.runner.run = stage.runner.crowded
    calls = (
        stage.executor.run(warrant(), timeout_s=5) for _ in range(CONNECTIONS_MAX + 1)
    )
    done = await asyncio.gather(*calls)
    assert all(ran.receipt is not None for ran in done)
    assert stage.runner.at_once_most == CONNECTIONS_MAX
    assert stage.runner.connections == CONNECTIONS_MAX

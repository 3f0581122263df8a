"""A runner that answers as a test wants, and an executor that speaks to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.core.frames import HEADER_BYTES, decode_body
from broker.core.jwk import Algorithm, PrivateKey
from broker.core.jws import sign, verify
from broker.core.warrants.orders import (
    Hello,
    hello_claims,
    parse_warrant,
    receipt_claims,
)
from broker.core.warrants.sandbox import Sandbox
from broker.core.words.warrant import (
    EDGE_HELLO_TYP,
    RECEIPT_TYP,
    WARRANT_TYP,
    Receipt,
    SentState,
    Warrant,
)
from broker.effects.clock import RandomIds
from broker.effects.executor import SocketExecutor
from broker.effects.keyfiles import publish_key
from broker.effects.runner.line import FRAME_MAX
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


def confined(posture: str = "strict", **changes: Any) -> dict[str, Any]:
    """Return what a runner says of its sandbox."""
    attempts = {"shop": {"read_file": "refused: EACCES"}}
    return {
        "posture": posture,
        "layers": ["seccomp"],
        "landlock_abi": 6,
        "attempts": attempts,
        "outside": {},
        "cgroup": "none",
        **changes,
    }


@dataclass
class FakeRunner:
    """A runner on a unix socket; ``run`` and ``ask`` can be told to answer otherwise.

    Bytes are sent as they are and end the connection, None ends it without an answer.
    """

    path: Path
    key: PrivateKey = EDGE_KEY
    boot: str = "boot-1"
    hello_nonce: str = ""
    sandbox: Any = field(default_factory=confined)
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
                return {"ok": True, "edge_hello": token, "sandbox": self.sandbox}
            case "run":
                return await (self.run or self.done)(message)
            case _:
                return await (self.ask or self.asked)(message)

    async def done(self, message: dict[str, Any]) -> dict[str, Any]:
        keys = {WARRANT_KEY.kid: WARRANT_KEY.public()}
        read = parse_warrant(verify(message["warrant"], keys=keys, typ=WARRANT_TYP))
        token = self.receipt(read.warrant_id, read.action_id)
        return {
            "ok": True,
            "result": {"status": "ok"},
            "receipt": token,
            "posture": "standard",
        }

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
    recorded: list[Sandbox]


def made(folder: Path, record: Callable[[Sandbox], Awaitable[None]]) -> SocketExecutor:
    """Return an executor of the runner in a folder."""
    return SocketExecutor(
        str(folder / "r.sock"),
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=folder / "receipt.jwk",
        consequential=lambda tool: tool == "orders.refund",
        on_sandbox=record,
    )


@contextlib.asynccontextmanager
async def on_stage(folder: Path) -> AsyncIterator[Stage]:
    runner = FakeRunner(folder / "r.sock")
    publish_key(folder / "receipt.jwk", EDGE_KEY.public())
    recorded: list[Sandbox] = []

    async def record(found: Sandbox) -> None:
        recorded.append(found)

    executor = made(folder, record)
    server = await asyncio.start_unix_server(runner.serve, str(runner.path))
    try:
        yield Stage(runner, executor, recorded)
    finally:
        await executor.close()
        server.close()
        for task in runner.serving:
            task.cancel()
        await asyncio.gather(*runner.serving, return_exceptions=True)


def always(answer: Any) -> Answer:
    async def give(_: dict[str, Any]) -> Any:
        return answer

    return give

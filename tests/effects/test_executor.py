"""The executor: only the edge's receipt for this very warrant says what happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.frames import HEADER_BYTES
from broker.core.jwk import Algorithm
from broker.core.jws import sign
from broker.core.warrants.orders import (
    Hello,
    hello_claims,
)
from broker.core.warrants.sandbox import Sandbox
from broker.core.words.errors import (
    ExecutorUnavailableError,
)
from broker.core.words.warrant import (
    EDGE_HELLO_TYP,
    RECEIPT_TYP,
    SentState,
)
from broker.effects.executor import (
    ASK_S_MAX,
    HELLO_KEPT_S,
)
from broker.effects.runner.line import CALLS_MAX, FRAME_MAX
from tests.support.fake_edge import pack
from tests.support.flow.fake_runner import (
    EDGE_KEY,
    IDS,
    Stage,
    always,
    made,
    on_stage,
    warrant,
)
from tests.support.identities import key_of


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with on_stage(tmp_path) as made_up:
        yield made_up


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
    ran = await stage.executor.run(order, timeout_s=1)
    assert stage.runner.ops() == ["run", "ask"]
    assert ran.result is None
    assert ran.receipt is not None
    assert ran.receipt.action_id == order.action_id
    stage.runner.ask = always({"ok": True, "receipt": token})
    with pytest.raises(ExecutorUnavailableError, match="another action"):
        await stage.executor.ask(order.warrant_id, order.action_id)


@pytest.mark.parametrize("what", ["ask", "hello"])
async def test_what_another_key_signed_counts_for_nothing(
    stage: Stage, what: str
) -> None:
    stage.runner.key = key_of("forger", Algorithm.EDDSA)
    calls = {
        "ask": lambda: stage.executor.ask(IDS.new(), IDS.new()),
        "hello": stage.executor.address,
    }
    with pytest.raises(ExecutorUnavailableError, match="does not verify"):
        await calls[what]()


@pytest.mark.parametrize("forged", ["by another key", "a greeting", "no text", "text"])
async def test_a_receipt_that_proves_nothing_does_not_prove_that_nothing_was_sent(
    stage: Stage, forged: str
) -> None:
    order = warrant()
    named = {"warrant_id": order.warrant_id, "action_id": order.action_id}
    forger = key_of("forger", Algorithm.EDDSA)
    said = Hello("edge-1", "boot-1", "", datetime.now(UTC))
    token = {
        "by another key": sign({**named}, key=forger, typ=RECEIPT_TYP),
        "a greeting": sign(hello_claims(said), key=EDGE_KEY, typ=EDGE_HELLO_TYP),
        "no text": {},
        "text": "nothing was sent",
    }[forged]
    answer = {"ok": True, "result": {"paid": 1}, "receipt": token}
    stage.runner.run = stage.runner.ask = always(answer)
    # Nobody can say: the caller waits and asks again, and the money stays held.
    ran = await stage.executor.run(order, timeout_s=1)
    assert (ran.result, ran.receipt) == (None, None)
    assert stage.runner.ops() == ["run", "ask"]


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
    async def record(_: Sandbox) -> None:
        """Record nothing."""

    executor = made(tmp_path, record)
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
    calls = (stage.executor.run(warrant(), timeout_s=5) for _ in range(CALLS_MAX + 1))
    done = await asyncio.gather(*calls)
    assert all(ran.receipt is not None for ran in done)
    assert stage.runner.at_once_most == CALLS_MAX
    assert stage.runner.connections == CALLS_MAX

"""The executor, fake and real: a warrant moves something once, or nothing at all.

The real one is a runner, an edge on PostgreSQL and the reference shop.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from broker.core.warrants.sandbox import Sandbox
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import SentState, Warrant
from broker.effects.clock import RandomIds
from broker.effects.executor import SocketExecutor
from tests.edge.lab import ISSUER, WARRANT_KEY
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.crm import Crm, crm, crm_process
from tests.support.flow.executor import CARD, CUSTOMER, ORDER, FakeExecutor
from tools.dispatcher import Dispatcher
from tools.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["crm", "crm_process"]

IDS = RandomIds()
EMAIL = "noah.brown7922@example.com"
TIMEOUT_S = 10
AMOUNT = 700


@dataclass
class FakeRig:
    """The fake, its faults switched by name."""

    executor: FakeExecutor = field(default_factory=FakeExecutor)
    paid_by: str = CARD

    def order(self, tool: str, arguments: dict[str, Any], customer: str) -> Warrant:
        now = datetime.now(UTC)
        return Warrant(
            warrant_id=IDS.new(),
            action_id=IDS.new(),
            tenant="demo",
            environment="dev",
            connector="retail",
            tool=tool,
            manifest="0" * 64,
            arguments=arguments,
            customer_id=customer,
            agent_id="agent-1",
            edge="edge-1",
            boot="boot-1",
            epochs=(("agent:agent-1", 0),),
            idempotency_key=secrets.token_hex(16),
            issued_at=now,
            expires_at=now + timedelta(seconds=10),
        )

    def refunds(self) -> list[int]:
        return self.executor.amounts()

    async def lose_the_answer(self) -> None:
        self.executor.fault = "no_answer"

    async def revoke(self) -> None:
        self.executor.revoked = lambda _: True

    async def stop(self) -> None:
        self.executor.down = True


@dataclass
class RealRig:
    """Runner, edge and shop."""

    executor: SocketExecutor
    edge: EdgeProcess
    dispatcher: Dispatcher
    crm: Crm
    owner_dsn: str

    @property
    def paid_by(self) -> str:
        return str(self.crm.order(ORDER)["payments"][0]["payment_method_id"])

    def order(self, tool: str, arguments: dict[str, Any], customer: str) -> Warrant:
        return self.edge.order(tool, arguments, customer_id=customer)

    def refunds(self) -> list[int]:
        changes = self.crm.journal()
        return [c["amount_minor_units"] for c in changes if c["kind"] == "refund"]

    async def lose_the_answer(self) -> None:
        self.crm.fault("drop_after_commit", method="POST", times=None)

    async def revoke(self) -> None:
        connection = await asyncpg.connect(self.owner_dsn)
        await connection.execute(
            "INSERT INTO revocation_epoch (scope, epoch) VALUES ('agent:agent-1', 1)"
        )
        await connection.close()

    async def stop(self) -> None:
        await self.executor.close()
        await self.dispatcher.close()


async def _nothing(_: Sandbox) -> None:
    """Record nothing."""


@asynccontextmanager
async def real(
    folder: Path, crm: Crm, *, edge_dsn: str, owner_dsn: str
) -> AsyncIterator[RealRig]:
    edge = make_edge(
        folder, database=edge_dsn, crm_url=crm.url, credential=crm.credential
    )
    dispatcher = Dispatcher(
        Settings(
            runner_socket=folder / "runner.sock",
            edge_socket=edge.socket,
            catalog=CATALOG,
        )
    )
    executor = SocketExecutor(
        str(folder / "runner.sock"),
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=edge.state / "public" / "edge" / "receipt.jwk",
        consequential=lambda _: True,
        on_sandbox=_nothing,
    )
    try:
        await edge.start()
        await dispatcher.start()
        yield RealRig(executor, edge, dispatcher, crm, owner_dsn)
    finally:
        await executor.close()
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)


@pytest.fixture(params=["fake", "real"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the real one stands on; nothing for the fake."""
    if request.param == "fake":
        return {}
    made = request.getfixturevalue("tmp_path_factory")
    return {
        "folder": made.mktemp("x"),
        "crm": request.getfixturevalue("crm"),
        "edge_dsn": request.getfixturevalue("pg_edge_dsn"),
        "owner_dsn": request.getfixturevalue("pg_dsn"),
    }


@pytest_asyncio.fixture
async def rig(where: dict[str, Any]) -> AsyncIterator[FakeRig | RealRig]:
    if not where:
        yield FakeRig()
        return
    async with real(**where) as rig:
        yield rig


def refund(rig: FakeRig | RealRig, amount: int = AMOUNT) -> Warrant:
    arguments = {
        "order_id": ORDER,
        "amount_minor_units": amount,
        "currency": "USD",
        "payment_method_id": rig.paid_by,
    }
    return rig.order("orders.refund", arguments, CUSTOMER)


async def test_a_refund_is_made_once_and_the_receipt_says_what_moved(rig) -> None:
    order = refund(rig)
    assert await rig.executor.address() == (order.edge, order.boot)
    ran = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert ran.error is None
    assert ran.receipt.state is SentState.ANSWERED
    assert (ran.receipt.warrant_id, ran.receipt.action_id) == (
        order.warrant_id,
        order.action_id,
    )
    values = ran.receipt.values
    assert (values["owner"], values["object"], values["amount"]) == (
        CUSTOMER,
        ORDER,
        AMOUNT,
    )
    assert ran.result["amount_minor_units"] == AMOUNT
    assert rig.refunds() == [AMOUNT]


async def test_a_spent_warrant_moves_nothing_more_and_the_first_receipt_stands(
    rig,
) -> None:
    order = refund(rig)
    first = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    again = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert again.error.code == "warrant_spent"
    assert again.result is None
    assert again.receipt.state is SentState.ANSWERED
    assert again.receipt.values == first.receipt.values
    assert rig.refunds() == [AMOUNT]


async def test_what_was_answered_is_told_again_when_asked(rig) -> None:
    order = refund(rig)
    ran = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    for _ in range(2):
        asked = await rig.executor.ask(order.warrant_id, order.action_id)
        assert asked.result is None
        assert asked.receipt.state is SentState.ANSWERED
        assert asked.receipt.upstream_status == ran.receipt.upstream_status
        assert asked.receipt.values == ran.receipt.values
    assert rig.refunds() == [AMOUNT]


async def test_not_sent_is_final_once_it_was_said(rig) -> None:
    order = refund(rig)
    asked = await rig.executor.ask(order.warrant_id, order.action_id)
    assert asked.receipt.state is SentState.NOT_SENT
    late = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert late.receipt.state is SentState.NOT_SENT
    assert late.error is not None
    assert rig.refunds() == []
    # Another warrant for the same action is another order.
    other = replace(order, warrant_id=IDS.new())
    assert (await rig.executor.run(other, timeout_s=TIMEOUT_S)).error is None
    assert rig.refunds() == [AMOUNT]


async def test_an_answer_that_is_lost_leaves_it_sent_and_is_not_sent_again(rig) -> None:
    await rig.lose_the_answer()
    order = refund(rig)
    ran = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert ran.receipt.state is SentState.SENT
    assert ran.result is None
    again = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert again.receipt.state is SentState.SENT
    assert len(rig.refunds()) <= 1


async def test_a_revocation_after_the_warrant_was_signed_stops_it(rig) -> None:
    order = refund(rig)
    await rig.revoke()
    ran = await rig.executor.run(order, timeout_s=TIMEOUT_S)
    assert ran.error.code == "revoked"
    assert ran.receipt.state is SentState.NOT_SENT
    assert rig.refunds() == []


async def test_details_that_do_not_match_are_an_answer_without_an_owner(rig) -> None:
    known = rig.order("customers.verify", {"email": EMAIL}, "")
    ran = await rig.executor.run(known, timeout_s=TIMEOUT_S)
    assert (ran.result, ran.receipt.values["owner"]) == ({"matched": True}, CUSTOMER)
    nobody = rig.order("customers.verify", {"email": "nobody@example.com"}, "")
    ran = await rig.executor.run(nobody, timeout_s=TIMEOUT_S)
    assert (ran.result, ran.receipt.upstream_status) == ({"matched": False}, 404)
    assert not ran.receipt.values.get("owner")


async def test_nobody_there_is_unavailable_whatever_is_asked(rig) -> None:
    order = refund(rig)
    await rig.stop()
    calls = (
        rig.executor.address(),
        rig.executor.run(order, timeout_s=TIMEOUT_S),
        rig.executor.ask(order.warrant_id, order.action_id),
    )
    for call in calls:
        with pytest.raises(ExecutorUnavailableError):
            await call
    assert rig.refunds() == []

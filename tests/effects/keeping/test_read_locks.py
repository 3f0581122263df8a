"""Reads of several replicas at once never wait for each other in turn."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from broker.core.words.budget import RECORDS_UNIT, Window
from broker.effects.limits.budgets import line_document
from tests.support.limits.lines import action, line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.words.budget import Line

SHA, REPLICA = "0" * 64, "broker-0"
HERE, THERE = action(1001), action(1002)
KEY = ("customer", "interaction")

HELD = line("held", unit="count", window=Window.EVER)
READ = line("read", unit=RECORDS_UNIT, window=Window.EVER)
OTHER = line("other", unit=RECORDS_UNIT, window=Window.EVER)
ORDERS = ["order-1", "order-2"]

INTERACTION = """
INSERT INTO interaction (interaction_id, tenant, environment, use_case, agent_id,
                         channel_id, verification, payload_id, opened_at)
VALUES ($1, 't', 'dev', 'u', 'a', 'c', 1, $1, now())
"""
CEILINGS = """
INSERT INTO object_ceiling (object_ref, sealed) SELECT unnest($1::text[]), ''
"""


@dataclass
class Desk:
    """Three ways into one database, and what waits for whom."""

    here: asyncpg.Connection[asyncpg.Record]
    there: asyncpg.Connection[asyncpg.Record]
    holder: asyncpg.Connection[asyncpg.Record]

    async def prepare(self) -> None:
        await self.holder.execute(
            "INSERT INTO subject_key (subject, purpose, wrapped) VALUES ($1, $2, '')",
            *KEY,
        )
        for where in (HERE, THERE):
            await self.holder.execute("SELECT keep($1, '[]')", payloads(where))
            await self.holder.execute(INTERACTION, where)
        await self.holder.execute("SELECT budgets_create($1)", lines(HELD, READ, OTHER))
        await self.holder.execute(CEILINGS, ORDERS)

    async def waits(self, connection: asyncpg.Connection[Any]) -> None:
        """Return when this connection waits for a lock, or does not within seconds."""
        sql = "SELECT cardinality(pg_blocking_pids($1))"
        for _ in range(100):
            if await self.holder.fetchval(sql, connection.get_server_pid()):
                return
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def meeting(self, held: str, *args: Any) -> AsyncIterator[list[Any]]:
        """Run two calls that both wait for what is held meanwhile, one after the other.

        If either took anything that the other wants before it waits, they deadlock.
        """
        calls: list[Any] = []
        yield calls
        transaction = self.holder.transaction()
        await transaction.start()
        await self.holder.execute(held, *args)
        running = []
        for connection, (sql, document) in zip(
            (self.here, self.there), calls, strict=True
        ):
            running.append(asyncio.create_task(connection.fetchval(sql, document)))
            await self.waits(connection)
        await transaction.rollback()
        calls[:] = [await one for one in running]


@pytest_asyncio.fixture
async def desk(pg_dsn: str) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        ways = []
        for _ in range(3):
            way = await asyncpg.connect(pg_dsn)
            stack.push_async_callback(way.close)
            await way.set_type_codec(
                "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
            )
            ways.append(way)
        desk = Desk(*ways)
        await desk.prepare()
        yield desk


def lines(*several: Line) -> list[dict[str, Any]]:
    return [line_document(one) for one in several]


def payloads(name: str) -> list[dict[str, str]]:
    subject, purpose = KEY
    fields = {"subject": subject, "purpose": purpose, "retention": "r", "sealed": ""}
    return [fields | {"payload_id": name, "data_class": "d", "sha256": SHA}]


def asked(number: int, *, holds: tuple[Line, ...] = (), reads: tuple[Line, ...] = ()):
    """Return the document of a read that was permitted, and is claimed at once."""
    name = action(number)
    fields = {
        "action_id": name,
        "interaction_id": HERE if number % 2 else THERE,
        "warrant_id": name,
        "request_payload": name,
        "lease_replica": REPLICA,
        "lease_s": 20,
        "epochs": {},
        "state": "executing",
        "decision": "permit",
        "policy_version": 1,
        "tier": 1,
        "created_at": "2026-11-26T09:00:00Z",
    }
    text = "tenant environment use_case agent_id instance_id grant_id customer_ref "
    text += "release kind disposition tool manifest effect code standing_approval "
    text += "digest fingerprint idempotency_key"
    return {
        "action": dict.fromkeys(text.split(), "x") | fields,
        "payloads": payloads(name),
        "entries": [],
        "lines": lines(*holds),
        "readings": lines(*reads),
        "approval": None,
    }


def ended(number: int, *, reads: tuple[Line, ...] = (), **more: Any) -> dict[str, Any]:
    """Return the document of the outcome of a read that brought more records."""
    return {
        "action_id": action(number),
        "replica": REPLICA,
        "warrant": action(number),
        "state": "done",
        "code": "",
        "money": "post",
        "posted": None,
        "currency": None,
        "payload": action(number + 500),
        "payloads": payloads(action(number + 500)),
        "entries": [],
        "values": [],
        "ceilings": [],
        "bind": None,
        "readings": lines(*reads),
        "forget": False,
        "alarms": [],
    } | more


ONE, MANY = "SELECT action_submit($1::jsonb)", "SELECT action_reads($1::jsonb[])"
TAKE = "SELECT FROM budget WHERE budget_id = $1 FOR UPDATE"


@pytest.mark.parametrize("first", [HELD, READ])
async def test_a_read_that_holds_a_count_ends_while_the_next_one_begins(
    desk: Desk, first: Line
) -> None:
    begun = asked(1, holds=(HELD,), reads=(READ,))
    assert (await desk.here.fetchval(ONE, begun))["word"] == "ok"
    async with desk.meeting(TAKE, first.budget_id) as calls:
        calls.append((ONE, asked(2, holds=(HELD,), reads=(READ,))))
        calls.append((MANY, [ended(1, reads=(READ,))]))
    assert (calls[0]["word"], calls[1]) == ("ok", [True])


async def test_batches_of_two_replicas_lock_what_they_begin_and_end_in_one_order(
    desk: Desk,
) -> None:
    for at, first in enumerate((READ, OTHER)):
        one, two, three, four = range(4 * at + 1, 4 * at + 5)
        assert all(await desk.here.fetchval(MANY, [asked(one), asked(two)]))
        async with desk.meeting(TAKE, first.budget_id) as calls:
            batch = [asked(three, reads=(READ,)), ended(one, reads=(OTHER,))]
            calls.append((MANY, batch))
            batch = [asked(four, reads=(OTHER,)), ended(two, reads=(READ,))]
            calls.append((MANY, batch))
        assert calls == [[True, True], [True, True]]


async def test_batches_that_end_the_same_actions_in_other_orders_do_not_deadlock(
    desk: Desk,
) -> None:
    assert await desk.here.fetchval(MANY, [asked(1), asked(2)]) == [True, True]
    take = "SELECT FROM action WHERE action_id = $1 FOR UPDATE"
    async with desk.meeting(take, action(1)) as calls:
        calls.append((MANY, [ended(1), ended(2)]))
        calls.append((MANY, [ended(2), ended(1)]))
    # Whoever came first stored both.
    assert sorted(calls) == [[False, False], [True, True]]


async def test_batches_that_show_the_same_objects_in_other_orders_do_not_deadlock(
    desk: Desk,
) -> None:
    numbers = range(1, 5)
    assert all(await desk.here.fetchval(MANY, [asked(one) for one in numbers]))
    one, two = ([{"ref": ref, "sealed": "AA=="}] for ref in ORDERS)
    take = "SELECT FROM object_ceiling WHERE object_ref = $1 FOR UPDATE"
    async with desk.meeting(take, ORDERS[0]) as calls:
        calls.append((MANY, [ended(1, ceilings=one), ended(2, ceilings=two)]))
        calls.append((MANY, [ended(3, ceilings=two), ended(4, ceilings=one)]))
    assert calls == [[True, True], [True, True]]


async def test_of_two_reads_of_one_object_in_a_batch_the_later_one_bounds_it(
    desk: Desk,
) -> None:
    assert all(await desk.here.fetchval(MANY, [asked(1), asked(2)]))
    shown = [[{"ref": "o", "sealed": sealed}] for sealed in ("AQ==", "Ag==")]
    batch = [ended(1, ceilings=shown[0]), ended(2, ceilings=shown[1])]
    assert await desk.here.fetchval(MANY, batch) == [True, True]
    kept = "SELECT sealed FROM object_ceiling WHERE object_ref = 'o'"
    assert await desk.here.fetchval(kept) == b"\x02"


async def test_batches_that_bind_customers_in_other_orders_do_not_deadlock(
    desk: Desk,
) -> None:
    numbers = range(1, 5)
    assert all(await desk.here.fetchval(MANY, [asked(one) for one in numbers]))
    take = "SELECT FROM interaction WHERE interaction_id = $1 FOR UPDATE"

    def bound(number: int) -> dict[str, Any]:
        where = HERE if number % 2 else THERE
        bind = {"customer_ref": "ann", "verification": 2, "payload_id": where}
        return ended(number, bind=bind)

    async with desk.meeting(take, HERE) as calls:
        calls.append((MANY, [bound(1), bound(2)]))
        calls.append((MANY, [bound(4), bound(3)]))
    assert calls == [[True, True], [True, True]]

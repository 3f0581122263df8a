"""Measure a replay of 10,000 recorded actions, and what waits when a policy comes.

The floor of a replayed action is the one decision under the candidate that it cannot do
without; the rest is reading, decrypting and comparing. The records are made by sealing
random questions as the flow seals them.
"""

from __future__ import annotations

import random
import resource
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

from broker import flow, rehearsal, sweeper
from broker.core.sealed import action as sealed
from broker.core.sealed.decided import Decided, to_json
from broker.core.words.decision import Escalate, VerdictWord
from broker.effects.keeping import rows as columns
from broker.ports import NewAction, PayloadDraft
from broker.watch.replay import Tally, decision_of, label
from tests.bench.measure import Row, row
from tests.support.cases import question
from tests.support.flow.house import House, open_house
from tests.support.policies import MORE_THAN_100, TWO_FROM_100, made_of, publish

RECORDED = 10_000
CUSTOMERS = 500
WAITING = 1_000
AMOUNTS = (100, 2_500, 50_000, 100_001, 150_000, 250_000, 600_000)
WRONG = made_of("appetite.toml", '"1000.00"', '"2000.00"', every=True)


async def rows(*, owner_dsn: str, broker_dsn: str) -> list[Row]:
    """Measure on a migrated database of the bench's own."""
    async with open_house(broker_dsn, owner_dsn=owner_dsn) as house:
        return [*await _replay(house), *await _republish(house)]


async def _replay(house: House) -> list[Row]:
    await _record(house)
    ports = house.ports
    candidate = rehearsal.candidate_of(WRONG, ports)
    now = ports.clock.now()
    after, until = first(now, days=-1), first(now, days=1)
    page = await ports.policies.past.page(
        after=after, until=until, limit=rehearsal.PAGE_MAX
    )
    cpu = time.process_time()
    for one in page.records:
        decision_of(one.decided, candidate)
    engine_us = (time.process_time() - cpu) * 1e6 / len(page.records)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    tally, more = Tally(), True
    while more:
        found = await rehearsal.replayed(ports, candidate, after=after, until=until)
        tally.add(found.tally)
        after, more = found.after, found.more
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    money = sum(total for _, total in tally.flips.values())
    count = tally.replayed
    per_us, text = cpu_s * 1e6 / count, f"replay of {count} recorded actions"
    return [
        row(f"{text}, wall time", took_s, "s", engine_us * count / 1e6),
        row(f"{text}, CPU of each, against one decision", per_us, "us", engine_us),
        row(f"{text}, memory grown", grown_mb, "MiB", 0),
        row(f"{text}, flips of a moved threshold", tally.flipped, "", 0),
        row(f"{text}, money in those flips", money / 100, "USD", 0),
    ]


async def _republish(house: House) -> list[Row]:
    """Publish a policy while many wait: publishing itself, then all of them asked."""
    body: dict[str, int] = {"agent-pending": 2**40, "agent-pending-count": 2**40}
    await publish(house, limits=body | {"agent-day": 2**40, "customer-day": 2**40})
    house.executor.paid = 2**40
    interaction = await house.interaction()
    await house.read_order(interaction)
    for number in range(WAITING):
        ask = house.refund(interaction, 20_000, key=f"w{number}")
        await flow.submit(house.ports, ask)
    began = time.perf_counter()
    version = await publish(house, TWO_FROM_100, MORE_THAN_100)
    published_s = time.perf_counter() - began
    began, cpu = time.perf_counter(), time.process_time()
    while await house.ports.policies.waiting.outdated(
        version=version, replica="", limit=1
    ):
        await sweeper.outdated(house.ports)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    sql = "SELECT count(*) FROM approval WHERE state = 'stale'"
    asked = int(await house.database.value(sql))
    text = f"a policy is published while {WAITING} wait"
    return [
        row(f"{text}: publishing", published_s * 1e3, "ms", 0),
        row(f"{text}: all {asked} asked anew", took_s, "s", 0),
        row(f"{text}: CPU of each", cpu_s * 1e3 / WAITING, "ms", 0),
    ]


async def _record(house: House) -> None:
    """Store recorded actions as the flow does, but for what they did."""
    dice = random.Random(1)
    interaction = await house.interaction()
    await house.read_order(interaction)
    (like,) = await house.ports.store.newest(agent_id=interaction.agent_id, limit=1)
    model = await house.ports.store.action(like)
    tool = house.ports.shelf.tool("orders.refund")
    assert model is not None
    assert tool is not None
    policy = await house.ports.authority.policy()
    live = rehearsal.in_force(policy)
    asked = question(totals=dict.fromkeys(policy.book.totals, 0))
    documents: list[dict[str, Any]] = []
    for number in range(RECORDED):
        amount, standing = dice.choice(AMOUNTS), dice.random() < 0.3
        put = replace(asked, amount_minor_units=amount, standing=standing)
        made = Decided(put, VerdictWord.CLEAN, (), (), 1)
        decision = decision_of(made, live)
        word = label(decision).partition(" ")[0]
        request = replace(
            model.request, action_id=house.ports.ids.new(), tool="orders.refund"
        )
        kept = replace(
            model,
            request=request,
            decision=word,
            reasons=decision.reasons,
            asked=decision if isinstance(decision, Escalate) else None,
            decided=to_json(made),
        )
        draft = PayloadDraft(
            house.ports.ids.new(),
            f"c{number % CUSTOMERS}",
            "action",
            "action",
            "request",
        )
        payload = await house.ports.vault.seal(sealed.to_payload(kept), draft)
        new = NewAction(kept, "", "f", payload, (), None, ())
        documents.append(
            {
                "action": columns.action_json(new, tool=tool, where=interaction),
                "payloads": [columns.payload_json(payload)],
                "readings": [],
            }
        )
    for start in range(0, len(documents), 500):
        batch = documents[start : start + 500]
        await house.database.value("SELECT action_reads($1::jsonb[])", batch)


def first(now: Any, *, days: int) -> str:
    """Return the first id of a day before or after now."""
    return rehearsal.first_id(now + timedelta(days=days))

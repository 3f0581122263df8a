"""Budgets over time and over reads: windows that end, and reading in bulk."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny
from broker.core.words.errors import StoreUnavailableError
from broker.registry.records import Change
from tests.support.approvals.voters import approve
from tests.support.flow.house import House

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord

AMOUNT = 12_000


async def with_budgets(house: House, *budgets: dict[str, Any]) -> None:
    """Publish the policy with other budgets beside its own of the same name."""
    row = await house.registry.get("policy", "main")
    assert row is not None
    names = {budget["id"] for budget in budgets}
    kept = [one for one in row.body["budgets"] if one["id"] not in names]
    body = {**row.body, "budgets": [*kept, *budgets]}
    now = house.ports.clock.now()
    change = Change("policy", "main", body, ("bootstrap",), now, row.revision)
    await house.registry.put(change, house.entry())


async def asked(house: House) -> ActionRecord:
    """Ask for a refund that a person has to sign, and have it signed."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    answer = await flow.submit(house.ports, house.refund(interaction, AMOUNT))
    assert answer.record is not None
    assert answer.record.state is ActionState.PENDING_APPROVAL
    return answer.record


async def yesterday(house: House) -> None:
    """Let the window of the day's reservations be over, as midnight would."""
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE budget SET window_start = window_start - interval '1 day'"
            " WHERE window_start > '2000-01-01';"
            "UPDATE reservation SET window_start = window_start - interval '1 day'"
            " WHERE window_start > '2000-01-01'"
        )


async def windows(house: House, rule: str) -> list[tuple[int, int]]:
    """Return (held, posted) of each window of a rule, the oldest first."""
    rows = await house.database.rows(
        "SELECT held, posted FROM budget WHERE rule_id = $1 ORDER BY window_start", rule
    )
    return [(row["held"], row["posted"]) for row in rows]


async def test_an_approval_after_the_windows_end_counts_in_the_current_one(
    house: House,
) -> None:
    record = await asked(house)
    await yesterday(house)
    await approve(house, "bob", record.approval_id, reason="")
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    assert await windows(house, "agent-day") == [(0, 0), (0, AMOUNT)]
    assert await windows(house, "customer-day") == [(0, 0), (0, AMOUNT)]
    _, claim, _ = [
        entry
        for entry in await house.entries(record.request.action_id)
        if entry["kind"] in {"authorize.decision", "execute.claim", "record.outcome"}
    ]
    taken = {one["rule"]: one["amount"] for one in claim["detail"]["reserved"]}
    assert taken["agent-day"] == AMOUNT


async def test_an_approval_that_finds_the_current_window_full_moves_nothing(
    house: House,
) -> None:
    record = await asked(house)
    await yesterday(house)
    await approve(house, "bob", record.approval_id, reason="")
    limit = {"per": ["agent"], "unit": "USD", "window": "day", "limit": AMOUNT - 1}
    await with_budgets(house, {"id": "agent-day", **limit})
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert (done.state, done.outcome.code) == (ActionState.REFUSED, "over_budget")  # type: ignore[union-attr]
    assert house.executor.amounts() == []
    assert await windows(house, "agent-day") == [(0, 0), (0, 0)]


async def test_a_lowered_limit_does_not_stop_what_was_reserved_before(
    house: House,
) -> None:
    record = await asked(house)
    await approve(house, "bob", record.approval_id, reason="")
    limit = {"per": ["agent"], "unit": "USD", "window": "day", "limit": AMOUNT - 1}
    await with_budgets(house, {"id": "agent-day", **limit})
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    interaction = await house.interaction()
    await house.read_order(interaction)
    again = await flow.submit(house.ports, house.refund(interaction, 1))
    assert isinstance(again.decision, Deny)


async def test_one_action_takes_no_more_than_its_own_cap_whatever_is_left(
    house: House,
) -> None:
    capped = {"per": ["agent"], "unit": "USD", "window": "last_day", "limit": 10**6}
    await with_budgets(house, {"id": "sliding", **capped, "per_action": 2_000})
    interaction = await house.interaction()
    await house.read_order(interaction)
    over = await flow.submit(house.ports, house.refund(interaction, 2_001))
    assert isinstance(over.decision, Deny)
    assert over.decision.reasons[0].rule == "sliding"
    fits = await flow.submit(house.ports, house.refund(interaction, 2_000))
    assert fits.record is not None
    assert fits.record.state is ActionState.DONE
    assert await windows(house, "sliding") == [(0, 2_000)]


@pytest.mark.parametrize("hours", [-25, 25])
async def test_a_replica_whose_clock_jumped_decides_nothing_that_costs(
    house: House, hours: int
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    ports, ask = house.jumped(hours), house.refund(interaction, 2_000)
    later = house.caller(expires_at=ports.clock.now() + timedelta(minutes=5))
    with pytest.raises(StoreUnavailableError, match="clock"):
        await flow.submit(ports, replace(ask, caller=later))
    assert house.executor.amounts() == []
    assert await house.held() == 0


async def test_an_agent_reads_so_many_customers_and_not_one_more(house: House) -> None:
    seen = {"per": ["agent", "connector"], "unit": "customers", "window": "day"}
    await with_budgets(house, {"id": "agent-customers", **seen, "limit": 1})
    first = await house.interaction()
    for _ in range(3):
        await house.read_order(first)
    other = await house.interaction(customer="somebody_else_1234")
    answer = await flow.submit(house.ports, house.ask("customers.get", other))
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "over_budget"
    assert answer.decision.reasons[0].rule == "agent-customers"
    assert await windows(house, "agent-customers") == [(0, 1)]
    await house.read_order(first)


async def test_the_records_of_a_read_are_counted_and_end_the_reading(
    house: House,
) -> None:
    read = {"per": ["agent", "connector"], "unit": "records", "window": "last_hour"}
    await with_budgets(house, {"id": "agent-records", **read, "limit": 4})
    interaction = await house.interaction()
    await house.read_order(interaction)
    ((_, before),) = await windows(house, "agent-records")
    last = None
    for _ in range(5):
        last = await flow.submit(house.ports, house.ask("customers.get", interaction))
        if isinstance(last.decision, Deny):
            break
    assert last is not None
    assert isinstance(last.decision, Deny)
    ((held, after),) = await windows(house, "agent-records")
    assert before >= 2
    assert held == 0
    assert after >= 4

"""Unknown outcomes are looked up upstream, and sent again only where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker import flow
from broker.core.warrants.reconcile import AGAIN_MAX, FOUND_TWICE
from broker.core.words.action import ActionState
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ForbiddenError
from broker.unknown.reconcile import (
    NEEDS_PERSON,
    RECONCILED_MAX,
    By,
    all_of,
    reconcile,
)
from tests.support.flow.executor import CUSTOMER, ORDER
from tests.support.flow.house import AGENT_ID
from tests.support.flow.unknowns import Declared, agree, later, unclear_refund

if TYPE_CHECKING:
    from tests.support.flow.house import House


async def kinds(house: House, action_id: str) -> list[str]:
    return [entry["kind"] for entry in await house.entries(action_id)]


async def test_what_the_upstream_has_under_our_id_is_done_and_not_sent_again(
    house: House,
) -> None:
    house.executor.reaches = True
    action_id = await unclear_refund(house, 1_000)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.DONE, By.UPSTREAM)
    assert (await house.held(), await house.posted()) == (0, 1_000)
    assert house.executor.amounts() == [1_000]
    assert await kinds(house, action_id) == [
        EntryKind.DECISION,
        EntryKind.OUTCOME,
        EntryKind.LOOKED_UP,
        EntryKind.RESOLVED,
    ]
    [reading] = [w for w in house.executor.runs if w.tool == "orders.refunds.find"]
    assert reading.arguments == {"order_id": ORDER, "reference": action_id}
    assert (reading.customer_id, reading.idempotency_key) == (CUSTOMER, "")
    await agree(house)


async def test_the_reading_is_recorded_before_it_is_sent(house: House) -> None:
    Declared(house)
    action_id = await unclear_refund(house, 1_000)
    house.executor.dies = True
    with pytest.raises(BaseException):  # noqa: B017, PT011  (the replica died)
        await reconcile(house.ports, action_id)
    assert (await kinds(house, action_id))[-1] == EntryKind.LOOKED_UP


async def test_what_is_not_there_yet_stays_unknown_and_held(house: House) -> None:
    Declared(house, absent_s=60)
    action_id = await unclear_refund(house, 1_000)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.UNKNOWN, By.LATER)
    assert (await house.held(), await house.posted()) == (1_000, 0)
    assert house.executor.amounts() == []


async def test_what_is_not_there_when_the_manifest_says_it_must_be_never_happened(
    house: House,
) -> None:
    Declared(house, absent_s=60)
    action_id = await unclear_refund(house, 1_000)
    later(house, 60 + 10 + 10 + 60 + 1)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.FAILED, By.UPSTREAM)
    assert (await house.held(), await house.posted()) == (0, 0)
    await agree(house)


async def test_absence_says_nothing_where_the_manifest_promises_nothing(
    house: House,
) -> None:
    Declared(house)
    action_id = await unclear_refund(house, 1_000)
    later(house, 10 * 86_400)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.UNKNOWN, By.PERSON)
    assert await house.held() == 1_000
    # The alarm is raised once, and the list says it.
    await reconcile(house.ports, action_id)
    assert (await kinds(house, action_id)).count(EntryKind.ALARM) == 1
    [listed] = await house.ports.unknown.listed(limit=10)
    assert listed.alarms == (NEEDS_PERSON,)
    assert listed.edge_said == "sent"


@pytest.mark.parametrize("reaches", [True, False])
async def test_it_is_sent_again_only_under_its_old_key_which_the_upstream_keeps(
    house: House,
    reaches: bool,  # noqa: FBT001
) -> None:
    Declared(house, keeps_s=86_400)
    house.executor.reaches = reaches
    action_id = await unclear_refund(house, 1_000)
    # A list that is behind: the key is what keeps it from being done twice.
    moved, house.executor.moved = house.executor.moved, []
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.DONE, By.SENT_AGAIN)
    assert [*moved, *house.executor.moved] == [(ORDER, 1_000, action_id)]
    first, second = [w for w in house.executor.runs if w.tool == "orders.refund"]
    assert first.idempotency_key == second.idempotency_key
    assert first.warrant_id != second.warrant_id
    assert EntryKind.AGAIN in await kinds(house, action_id)
    assert (await house.held(), await house.posted()) == (0, 1_000)
    await agree(house)


async def test_nothing_is_sent_again_once_the_key_may_have_lapsed(house: House) -> None:
    Declared(house, keeps_s=86_400)
    action_id = await unclear_refund(house, 1_000)
    later(house, 86_400 - 60)
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.UNKNOWN, By.PERSON)
    assert len([w for w in house.executor.runs if w.tool == "orders.refund"]) == 1


async def test_nothing_is_sent_again_for_an_agent_that_was_revoked(
    house: House,
) -> None:
    Declared(house, keeps_s=86_400)
    action_id = await unclear_refund(house, 1_000)
    await house.revoke(f"agent:{AGENT_ID}")
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.UNKNOWN, By.PERSON)
    assert len([w for w in house.executor.runs if w.tool == "orders.refund"]) == 1
    assert await house.held() == 1_000


async def test_sending_again_ends_after_so_many_times(house: House) -> None:
    Declared(house, keeps_s=86_400)
    action_id = await unclear_refund(house, 1_000)
    house.executor.fault = "no_answer"
    for _ in range(AGAIN_MAX + 1):
        found = await reconcile(house.ports, action_id)
        assert found.state is ActionState.UNKNOWN
    assert found.by is By.PERSON
    sent = [w for w in house.executor.runs if w.tool == "orders.refund"]
    assert len(sent) == 1 + AGAIN_MAX
    assert len({w.idempotency_key for w in sent}) == 1


async def test_more_than_one_effect_of_one_action_is_an_alarm_and_stays_held(
    house: House,
) -> None:
    house.executor.reaches = True
    action_id = await unclear_refund(house, 1_000)
    house.executor.moved *= 2
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.UNKNOWN, By.PERSON)
    assert found.alarms == (FOUND_TWICE,)
    assert EntryKind.ALARM in await kinds(house, action_id)
    assert await house.held() == 1_000


async def test_an_edge_that_lost_its_journal_does_not_keep_us_from_reading(
    house: House,
) -> None:
    house.executor.reaches = True
    action_id = await unclear_refund(house, 1_000)
    house.executor.receipts.clear()
    found = await reconcile(house.ports, action_id)
    assert (found.state, found.by) == (ActionState.DONE, By.UPSTREAM)
    assert await house.posted() == 1_000


async def test_an_agent_cannot_use_the_brokers_own_reading(house: House) -> None:
    interaction = await house.interaction()
    ask = house.ask(
        "orders.refunds.find", interaction, order_id=ORDER, reference="x" * 36
    )
    with pytest.raises(ForbiddenError):
        await flow.submit(house.ports, ask)


async def test_one_that_cannot_be_asked_keeps_no_other_from_being_reconciled(
    house: House,
) -> None:
    house.executor.reaches = True
    one, other = await unclear_refund(house, 1_000), await unclear_refund(house, 500)
    house.executor.moved = [m for m in house.executor.moved if m[2] == other]
    Declared(house)
    assert RECONCILED_MAX >= 2
    rounds = await all_of(house.ports, [one, other])
    assert [r.state for r in rounds] == [ActionState.UNKNOWN, ActionState.DONE]
    house.executor.down = True
    [round_] = await all_of(house.ports, [one])
    assert (round_.state, round_.by) == (ActionState.UNKNOWN, By.LATER)

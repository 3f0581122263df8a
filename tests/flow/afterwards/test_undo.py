"""An action is taken back by another one, which a person asks for and others sign."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker import flow
from broker.core.words.action import ActionKind, ActionState
from broker.core.words.decision import Deny
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ConflictError, ForbiddenError, NotFoundError
from broker.registry.emergency.kill_switch import (
    KIND,
    ROW_ID,
    KillSwitch,
    kill_switch_body,
)
from broker.undo import UNDOS_MAX, undo
from tests.support.approvals.voters import approve, reject, voter
from tests.support.flow.executor import ORDER
from tests.support.flow.house import PEOPLE, put_row
from tests.support.flow.unknowns import unclear_refund

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from broker.flow import Answer
    from tests.support.flow.house import House

WHY = "refunded by mistake"


async def refunded(house: House, amount: int = 1_000) -> str:
    """Have an agent refund something under a standing approval; return the action."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    answer = await flow.submit(house.ports, house.refund(interaction, amount))
    assert answer.record is not None
    assert answer.record.state is ActionState.DONE
    return answer.record.request.action_id


async def asked(house: House, action_id: str, who: str = "alice") -> Answer:
    return await undo(house.ports, voter(house, who), action_id, reason=WHY)


def record_of(answer: Answer) -> ActionRecord:
    assert answer.record is not None
    return answer.record


async def test_what_a_person_wants_undone_is_signed_by_another_and_done_once(
    house: House,
) -> None:
    first = await refunded(house)
    record = record_of(await asked(house, first))
    assert record.state is ActionState.PENDING_APPROVAL
    assert record.request.kind is ActionKind.UNDO
    assert record.request.reversal_of == first
    assert record.request.arguments == {
        "order_id": ORDER,
        "refund_id": "refund_00000001",
        "amount_minor_units": 1_000,
        "currency": "USD",
    }
    assert house.executor.reversed == []
    # Its own room in the budgets, beside what the refund took.
    assert (await house.held(), await house.posted()) == (1_000, 1_000)
    with pytest.raises(ForbiddenError):
        await approve(house, "alice", record.approval_id)
    await approve(house, "bob", record.approval_id)
    action_id = record.request.action_id
    for _ in range(2):
        done = await flow.settle(house.ports, action_id)
        assert done is not None
        assert done.state is ActionState.DONE
    assert len(house.executor.reversed) == 1
    assert (await house.held(), await house.posted()) == (0, 2_000)
    [decision, *_] = await house.entries(action_id)
    assert decision["action"]["action_kind"] == "undo"
    assert decision["action"]["reversal_of"] == first
    alice = f"person:{PEOPLE['alice']}"
    assert {one["detail"]["ordered_by"] for one in await house.entries(action_id)} == {
        alice
    }
    assert EntryKind.CLAIM in [e["kind"] for e in await house.entries(action_id)]


async def test_one_undo_of_an_action_is_live_however_many_ask(house: House) -> None:
    first = await refunded(house)
    answers = await asyncio.gather(
        *(asked(house, first, who) for who in ("alice", "bob", "alice", "carol"))
    )
    ids = {record_of(answer).request.action_id for answer in answers}
    assert len(ids) == 1
    [(only, state)] = await house.ports.unknown.undos(first)
    assert {only} == ids
    assert state is ActionState.PENDING_APPROVAL


async def test_after_a_no_it_may_be_asked_for_again_and_after_a_yes_it_is_done(
    house: House,
) -> None:
    first = await refunded(house)
    refused = record_of(await asked(house, first))
    await reject(house, "bob", refused.approval_id, reason="no")
    again = record_of(await asked(house, first, "bob"))
    assert again.request.action_id != refused.request.action_id
    await approve(house, "alice", again.approval_id)
    await flow.settle(house.ports, again.request.action_id)
    same = await asked(house, first)
    assert same.repeated
    assert record_of(same).request.action_id == again.request.action_id
    assert len(house.executor.reversed) == 1


async def test_the_database_itself_has_no_place_for_a_second_live_undo(
    house: House,
) -> None:
    first = await refunded(house)
    record = record_of(await asked(house, first))
    async with house.admin() as owner:
        columns = "SELECT string_agg(quote_ident(column_name), ',') FROM"
        names = await owner.fetchval(
            f"{columns} information_schema.columns WHERE table_name = 'action'"
            " AND column_name NOT IN ('action_id', 'dedupe')"
        )
        with pytest.raises(Exception, match="action_undo"):
            await owner.execute(
                f"INSERT INTO action (action_id, {names})"  # noqa: S608
                f" SELECT gen_random_uuid(), {names} FROM action WHERE action_id = $1",
                record.request.action_id,
            )


async def test_it_is_asked_for_so_often_and_no_more(house: House) -> None:
    first = await refunded(house)
    record = record_of(await asked(house, first))
    async with house.admin() as owner:
        names = await owner.fetchval(
            "SELECT string_agg(quote_ident(column_name), ',') FROM"
            " information_schema.columns WHERE table_name = 'action'"
            " AND column_name NOT IN ('action_id', 'dedupe', 'state')"
        )
        await owner.execute("UPDATE action SET state = 'expired' WHERE kind = 'undo'")
        for _ in range(UNDOS_MAX - 1):
            await owner.execute(
                f"INSERT INTO action (action_id, state, {names})"  # noqa: S608
                f" SELECT gen_random_uuid(), 'expired', {names} FROM action"
                " WHERE action_id = $1",
                record.request.action_id,
            )
    with pytest.raises(ConflictError, match=str(UNDOS_MAX)):
        await asked(house, first)


async def test_only_who_has_the_right_may_ask(house: House) -> None:
    first = await refunded(house)
    with pytest.raises(NotFoundError):
        await asked(house, first, "olivia")
    assert record_of(await asked(house, first, "carol")).approval_id


async def test_only_what_is_done_and_declares_an_undo_is_undone(house: House) -> None:
    unclear = await unclear_refund(house, 500)
    with pytest.raises(ConflictError, match="only what is done"):
        await asked(house, unclear)
    interaction = await house.interaction()
    await house.read_order(interaction)
    said = house.ask("answers.send", interaction, text="Hello.")
    answer = await flow.submit(house.ports, said)
    with pytest.raises(ConflictError, match="declares no undo"):
        await asked(house, record_of(answer).request.action_id)
    first = await refunded(house)
    undone = record_of(await asked(house, first))
    await approve(house, "bob", undone.approval_id)
    await flow.settle(house.ports, undone.request.action_id)
    with pytest.raises(ConflictError, match="not taken back"):
        await asked(house, undone.request.action_id)


async def test_the_agent_itself_cannot_ask_for_it(house: House) -> None:
    first = await refunded(house)
    interaction = await house.interaction()
    agent = house.ask("orders.get", interaction, order_id=ORDER).caller
    with pytest.raises(ForbiddenError):
        await undo(house.ports, agent, first, reason=WHY)


async def test_policy_has_the_last_word_about_an_undo_as_about_everything(
    house: House,
) -> None:
    first = await refunded(house)
    await put_row(house, KIND, ROW_ID, kill_switch_body(KillSwitch(on=True)))
    answer = await asked(house, first)
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "stopped"

"""Conversations end: when their channel says so, or when nothing is said any more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from broker import conversation, flow
from broker.conversation import ENDINGS_MAX
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny
from broker.core.words.errors import (
    ConflictError,
    InteractionEndedError,
    NotFoundError,
    UnauthenticatedError,
)
from broker.core.words.moment import write_moment
from broker.core.words.subject import INTERACTION_SILENT_S_MAX, VerificationLevel
from broker.undo import undo
from tests.support.approvals.voters import LARGE, approve, voter
from tests.support.channels import ending, opening, turn
from tests.support.flow.executor import CUSTOMER
from tests.support.flow.house import AGENT_ID, ISSUER, House
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction
    from broker.core.words.warrant import Warrant
    from broker.ports import Ports, Ran, Store

SILENT_H = INTERACTION_SILENT_S_MAX / 3_600
MAIL = "noah.brown7922@example.com"


def times(ports: Ports) -> dict[str, Any]:
    stamp = int(ports.clock.now().timestamp())
    return {"iat": stamp, "exp": stamp + 60, "jti": ports.ids.new()}


async def end(
    ports: Ports, interaction: Interaction, token: str = "", **claims: Any
) -> Interaction:
    where = interaction.interaction_id
    signed = token or ending(**times(ports) | {"interaction": where} | claims)
    return await conversation.end_interaction(ports, where, signed, issuer=ISSUER)


async def say(ports: Ports, interaction: Interaction) -> str:
    where = interaction.interaction_id
    now = write_moment(ports.clock.now())
    signed = turn(**times(ports), interaction=where, at=now)
    return await conversation.add_turn(ports, where, signed, issuer=ISSUER)


async def open_at(house: House, hours: float) -> Interaction:
    ports = house.jumped(hours)
    signed = opening(
        **times(ports), ai_disclosed_at="", customer=CUSTOMER, agent=AGENT_ID
    )
    return await conversation.open_interaction(ports, signed, issuer=ISSUER)


async def reads(house: House, interaction: Interaction) -> str:
    """Return why a read is denied, or nothing."""
    ask = house.ask("customers.get", interaction)
    answer = await flow.submit(house.ports, ask)
    denied = answer.decision
    return denied.reasons[0].code if isinstance(denied, Deny) else ""


async def test_in_an_interaction_that_its_channel_ended_no_agent_acts_any_more(
    house: House,
) -> None:
    here, there = await house.interaction(), await house.interaction()
    assert await reads(house, here) == ""
    over = await end(house.ports, here)
    assert await reads(house, here) == "interaction_closed"
    assert await reads(house, there) == ""
    with pytest.raises(InteractionEndedError):
        await say(house.ports, here)
    # To end it again changes nothing.
    assert (await end(house.ports, here)).closed_at == over.closed_at
    async with house.admin() as owner:
        sql = "SELECT count(*) FROM interaction WHERE closed_at IS NOT NULL"
        assert await owner.fetchval(sql) == 1


async def test_only_the_channel_that_opened_it_ends_it_and_once_per_word(
    house: House,
) -> None:
    here, there = await house.interaction(), await house.interaction()
    with pytest.raises(UnauthenticatedError):
        await end(house.ports, here, key=key_of("agent"))
    with pytest.raises(NotFoundError):
        await end(house.ports, replace(here, interaction_id="x"))
    token = ending(**times(house.ports), interaction=here.interaction_id)
    await end(house.ports, here, token)
    with pytest.raises(UnauthenticatedError, match="used before"):
        await end(house.ports, here, token)
    assert await reads(house, there) == ""


async def test_what_people_were_asked_before_the_end_stays_asked_and_is_taken_back(
    house: House,
) -> None:
    here = await house.interaction()
    await house.read_order(here)
    answer = await flow.submit(house.ports, house.refund(here, LARGE))
    assert answer.record is not None
    await end(house.ports, here)
    await approve(house, "alice", answer.record.approval_id)
    action_id = answer.record.request.action_id
    done = await flow.settle(house.ports, action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    taken_back = await undo(
        house.ports, voter(house, "alice"), action_id, reason="a mistake"
    )
    assert taken_back.record is not None
    assert taken_back.record.state is ActionState.PENDING_APPROVAL


async def test_an_interaction_ends_by_itself_so_long_after_the_last_word(
    house: House,
) -> None:
    silent = await open_at(house, -SILENT_H)
    spoken = await open_at(house, -SILENT_H - 1)
    await say(house.jumped(-2), spoken)
    assert await reads(house, silent) == "interaction_expired"
    assert await reads(house, spoken) == ""
    # Nothing that is said opens it again.
    with pytest.raises(InteractionEndedError):
        await say(house.ports, silent)


async def test_an_ending_keeps_the_customer_who_was_bound_meanwhile(
    house: House,
) -> None:
    unbound = await house.interaction(level=VerificationLevel.NONE)
    ask = house.ask("customers.verify", unbound, email=MAIL)
    await flow.submit(house.ports, ask)
    stale = StaleStore(house.ports.store, unbound, looks=1)
    over = await end(replace(house.ports, store=stale), unbound)
    assert (over.customer_id, over.closed_at is None) == (CUSTOMER, False)
    found = await house.ports.store.interaction(unbound.interaction_id)
    assert found == over


async def test_an_ending_is_tried_so_often_and_not_once_more(house: House) -> None:
    unbound = await house.interaction(level=VerificationLevel.NONE)
    ask = house.ask("customers.verify", unbound, email=MAIL)
    await flow.submit(house.ports, ask)
    stale = StaleStore(house.ports.store, unbound, looks=ENDINGS_MAX)
    with pytest.raises(ConflictError, match="meanwhile"):
        await end(replace(house.ports, store=stale), unbound)
    assert stale.looks == 0
    found = await house.ports.store.interaction(unbound.interaction_id)
    assert found is not None
    assert found.closed_at is None


async def test_a_customer_who_is_found_after_the_end_opens_nothing_again(
    house: House,
) -> None:
    unbound = await house.interaction(level=VerificationLevel.NONE)
    closing = ClosingExecutor(house, unbound)
    ask = house.ask("customers.verify", unbound, email=MAIL)
    await flow.submit(replace(house.ports, executor=closing), ask)
    found = await house.ports.store.interaction(unbound.interaction_id)
    assert found is not None
    assert (found.bound, found.closed_at is None) == (False, False)
    assert found.ended(house.ports.clock.now() + timedelta(seconds=1))


@dataclass
class StaleStore:
    """A store that shows an interaction as it was, for some looks."""

    store: Store
    before: Interaction
    looks: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def interaction(self, interaction_id: str) -> Interaction | None:
        if self.looks:
            self.looks -= 1
            return self.before
        return await self.store.interaction(interaction_id)


@dataclass
class ClosingExecutor:
    """An executor in whose call the channel ends the conversation."""

    house: House
    interaction: Interaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self.house.executor, name)

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        ran = await self.house.executor.run(warrant, timeout_s=timeout_s)
        await end(self.house.ports, self.interaction)
        return ran

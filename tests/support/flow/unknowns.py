"""Actions that were sent and got no clear answer, and the time that passes after."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker import flow
from broker.core.jwk import Algorithm
from broker.core.jws import sign
from broker.core.words.action import ActionState
from broker.core.words.approval import RESOLUTION_TYP
from broker.effects.limits.books import Books
from broker.unknown.resolve import listed, resolve
from tests.support.approvals.voters import voter
from tests.support.flow.house import PEOPLE
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.core.words.tool import Tool
    from broker.ports import Ports
    from broker.unknown.resolve import Listed, Resolved
    from tests.support.flow.house import House


class Declared:
    """A shelf whose refunds declare other things of the upstream, and nothing more."""

    def __init__(self, house: House, *, keeps_s: int = 0, absent_s: int = 0) -> None:
        self._shelf = house.ports.shelf
        self._keeps_s, self._absent_s = keeps_s, absent_s
        house.ports = replace(house.ports, shelf=self)

    def tool(self, name: str) -> Tool | None:
        tool = self._shelf.tool(name)
        if tool is None or name != "orders.refund":
            return tool
        assert tool.reconcile is not None
        requests = tuple(
            replace(one, idempotency_kept_s=self._keeps_s) for one in tool.requests
        )
        declared = replace(tool.reconcile, absent_after_s=self._absent_s)
        return replace(tool, requests=requests, reconcile=declared)

    def tools(self) -> list[Tool]:
        return list(self._shelf.tools())


def later(house: House, seconds: float) -> None:
    """Let the broker's clock go on."""
    clock = house.ports.clock
    at = clock.now() + timedelta(seconds=seconds)

    class Later:
        def now(self):
            return at

    house.ports = replace(house.ports, clock=Later())


async def unclear_refund(house: House, amount: int) -> str:
    """Ask for a refund that is sent and gets no answer; return its id."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "no_answer"
    answer = await flow.submit(house.ports, house.refund(interaction, amount))
    house.executor.fault = ""
    assert answer.record is not None
    assert answer.record.state is ActionState.UNKNOWN, answer
    return answer.record.request.action_id


async def pass_pause(house: House) -> None:
    """Let the pause before the next question pass, as time would."""
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE action SET ask_at = now() - interval '1 second'"
            " WHERE state = 'unknown'"
        )


def ports_of(house: House, replica: str) -> Ports:
    """Return the ports of another replica."""
    return replace(house.ports, replica=replica)


async def agree(house: House) -> None:
    """Require that budgets and the log say the same."""
    keeper: Any = house.keeper
    key = key_of("entry", Algorithm.EDDSA)
    books = Books(house.database, house.ledger, key=key, keeper=keeper)
    _, found = await books.compare()
    assert list(found) == []


async def look(house: House, name: str, action_id: str) -> Listed:
    """Return an unknown action as a person sees it in their list."""
    rows = await listed(house.ports, voter(house, name))
    [row] = [row for row in rows if row.open.action_id == action_id]
    return row


def resolution(house: House, name: str, action_id: str, **claims: Any) -> str:
    """Return a resolution as this person's own key signs it; claims replace others."""
    key = claims.pop("key", None) or key_of(name)
    typ = claims.pop("typ", RESOLUTION_TYP)
    plain = {
        "action": action_id,
        "amount_minor_units": None,
        "digest": "0" * 64,
        "happened": True,
        "iat": int(house.ports.clock.now().timestamp()),
        "jti": house.ports.ids.new(),
        "person": PEOPLE[name],
        "reason": "the CRM shows it",
    }
    return sign(plain | claims, key=key, typ=typ)


async def resolved(
    house: House, name: str, action_id: str, digest: str, **claims: Any
) -> Resolved:
    """Let a person sign what became of an action, and say it."""
    signed = resolution(house, name, action_id, digest=digest, **claims)
    return await resolve(house.ports, voter(house, name), action_id, signed)

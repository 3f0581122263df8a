"""A person resolves what nobody else can tell: who may, what it moves, and once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.core.words.action import ActionState, OutcomeWord
from broker.core.words.approval import VOTE_TYP
from broker.core.words.entry import EntryKind
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from broker.effects.keeping.unknown import PostgresUnknown
from broker.unknown.resolve import UNKNOWN_SHOWN_MAX, Resolved, listed, resolve
from tests.support.approvals.voters import (
    LARGE,
    approve,
    change_person,
    change_row,
    large_refund,
    voter,
)
from tests.support.flow.house import AGENT_ID, PEOPLE
from tests.support.flow.unknowns import (
    agree,
    look,
    resolution,
    resolved,
    unclear_refund,
)
from tests.support.identities import key_of

if TYPE_CHECKING:
    from tests.support.flow.house import House


async def money(house: House) -> tuple[int, int]:
    return await house.held(), await house.posted()


async def unclear(house: House, amount: int = 1_000) -> tuple[str, str]:
    """Return an unknown refund, and the digest of what was sent."""
    action_id = await unclear_refund(house, amount)
    return action_id, (await look(house, "alice", action_id)).digest


@pytest.mark.parametrize("amount", [None, 900])
async def test_what_happened_is_posted_as_the_person_says(
    house: House, amount: int | None
) -> None:
    action_id, digest = await unclear(house)
    done = await resolved(
        house, "alice", action_id, digest, amount_minor_units=amount, reason="R-7 shows"
    )
    assert done == Resolved(action_id, ActionState.DONE)
    assert await money(house) == (0, amount or 1_000)
    entry = (await house.entries(action_id))[-1]
    assert entry["kind"] == EntryKind.RESOLVED
    said = entry["detail"]
    assert (said["by"], said["reason"]) == (f"person:{PEOPLE['alice']}", "R-7 shows")
    assert said["person_kid"] == key_of("alice").kid
    stored = await house.ports.store.action(action_id)
    assert stored is not None
    assert stored.outcome is not None
    assert (stored.outcome.word, stored.outcome.sent) == (OutcomeWord.DONE, True)
    await agree(house)


async def test_what_did_not_happen_gives_the_money_back(house: House) -> None:
    action_id, digest = await unclear(house)
    done = await resolved(house, "alice", action_id, digest, happened=False)
    assert done.state is ActionState.FAILED
    assert await money(house) == (0, 0)
    # Something was sent: the same call is still this action, and is not sent again.
    assert len([w for w in house.executor.runs if w.tool == "orders.refund"]) == 1
    await agree(house)


async def test_more_than_was_decided_is_posted_in_full_with_an_alarm(
    house: House,
) -> None:
    action_id, digest = await unclear(house)
    await resolved(house, "alice", action_id, digest, amount_minor_units=1_001)
    assert await money(house) == (0, 1_001)
    detail = (await house.entries(action_id))[-1]["detail"]
    assert detail["alarms"] == ["more_than_decided"]
    sql = "SELECT bool_or(frozen) FROM budget WHERE rule_id = 'agent-day'"
    assert await house.database.value(sql)
    await agree(house)


async def test_what_people_approved_is_resolved_by_the_role_that_approved_it(
    house: House,
) -> None:
    record = await large_refund(house)
    action_id = record.request.action_id
    await approve(house, "alice", record.approval_id)
    house.executor.fault = "no_answer"
    settled = await flow.settle(house.ports, action_id)
    assert settled is not None
    assert settled.state is ActionState.UNKNOWN
    row = await look(house, "alice", action_id)
    assert (row.role, row.amount and row.amount.minor_units) == ("supervisor", LARGE)
    await resolved(house, "alice", action_id, row.digest)
    assert await money(house) == (0, LARGE)
    await agree(house)


async def refused(
    house: House, kind: type[Exception], *where: str, **said: Any
) -> None:
    """Require that it is refused, and that nothing changes."""
    name, action_id, digest = where
    held, before = await money(house), len(await house.entries(action_id))
    with pytest.raises(kind):
        await resolved(house, name, action_id, digest, **said)
    assert await money(house) == held
    assert len(await house.entries(action_id)) == before
    record = await house.ports.store.action(action_id)
    assert record is not None
    assert record.state is ActionState.UNKNOWN


async def test_who_may_not_is_refused_and_nothing_changes(house: House) -> None:
    action_id, digest = await unclear(house)
    # Other roles than the one that approves; security looks at everything.
    await refused(house, NotFoundError, "olivia", action_id, digest)
    await refused(house, ForbiddenError, "carol", action_id, digest)
    supervises = {"roles": ["supervisor"], "approval_limits": {"USD": 500_000}}
    await change_person(house, "olivia", **supervises)
    await refused(house, ForbiddenError, "olivia", action_id, digest)
    assert (await look(house, "olivia", action_id)).refusal is not None
    # The owner stays barred after the agent was revoked, and whoever owns it now.
    row = await house.registry.get("agent", AGENT_ID)
    assert row is not None
    await change_row(house, row, status="revoked")
    await refused(house, ForbiddenError, "olivia", action_id, digest)
    await change_person(house, "bob", approval_limits={"USD": 999})
    for happened in (True, False):
        await refused(
            house, ForbiddenError, "bob", action_id, digest, happened=happened
        )
    await change_person(house, "bob", approval_limits={"USD": 1_000})
    more = {"amount_minor_units": 1_001}
    await refused(house, ForbiddenError, "bob", action_id, digest, **more)
    await change_person(house, "bob", status="suspended")
    await refused(house, ForbiddenError, "bob", action_id, digest)
    assert (await resolved(house, "alice", action_id, digest)).state is ActionState.DONE


async def test_only_an_own_fresh_signature_over_this_very_action_counts(
    house: House,
) -> None:
    action_id, digest = await unclear(house)
    other_id, other = await unclear(house, 1_100)
    at = int(house.ports.clock.now().timestamp())
    cases: list[tuple[type[Exception], dict[str, Any]]] = [
        (ForbiddenError, {"key": key_of("bob")}),
        (ForbiddenError, {"key": key_of("console")}),
        (ForbiddenError, {"typ": VOTE_TYP}),
        (ForbiddenError, {"person": PEOPLE["bob"]}),
        (ForbiddenError, {"action": other_id}),
        (InvalidError, {"iat": at - 3_600}),
        (InvalidError, {"iat": at + 3_600}),
        (InvalidError, {"reason": " "}),
        (InvalidError, {"happened": False, "amount_minor_units": 1}),
    ]
    for kind, said in cases:
        await refused(house, kind, "alice", action_id, digest, **said)
    await refused(house, ConflictError, "alice", action_id, other)
    await agree(house)


async def test_of_two_people_at_once_one_wins_and_the_same_word_again_is_no_other(
    house: House,
) -> None:
    action_id, digest = await unclear(house)
    both = await asyncio.gather(
        resolved(house, "alice", action_id, digest),
        resolved(house, "bob", action_id, digest, happened=False),
        return_exceptions=True,
    )
    [won] = [one for one in both if isinstance(one, Resolved)]
    [lost] = [one for one in both if not isinstance(one, Resolved)]
    assert isinstance(lost, ConflictError)
    paid = won.state is ActionState.DONE
    assert await money(house) == (0, 1_000 if paid else 0)
    winner, loser = ("alice", "bob") if paid else ("bob", "alice")
    again = await resolved(house, winner, action_id, digest, happened=paid)
    assert again == Resolved(action_id, won.state, repeated=True)
    for who, said in ((winner, not paid), (loser, paid), (loser, not paid)):
        with pytest.raises(ConflictError, match="not unknown any more"):
            await resolved(house, who, action_id, digest, happened=said)
    kinds = [entry["kind"] for entry in await house.entries(action_id)]
    assert kinds.count(EntryKind.RESOLVED) == 1
    await agree(house)


async def test_what_the_tools_of_now_cannot_read_is_listed_and_waits_for_its_manifest(
    house: House,
) -> None:
    action_id, digest = await unclear(house)
    shelf, tool = house.ports.shelf, house.ports.shelf.tool("orders.refund")
    assert tool is not None
    for now in (None, replace(tool, arguments={"type": "string"}, digest="0" * 64)):
        one: Any = SimpleNamespace(tool=lambda _, now=now: now, tools=shelf.tools)
        ports = replace(house.ports, shelf=one)
        [row] = await listed(ports, voter(house, "alice"))
        assert row.refusal is not None
        signed = resolution(house, "alice", action_id, digest=digest)
        with pytest.raises(ConflictError, match="cannot be resolved now"):
            await resolve(ports, voter(house, "alice"), action_id, signed)
    assert await money(house) == (1_000, 0)


async def test_a_list_shows_the_oldest_and_no_more_than_fit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await unclear(house)
    await unclear(house, 1_100)
    asked: list[int] = []
    whole = PostgresUnknown.listed

    async def counted(self: PostgresUnknown, *, limit: int) -> Any:
        asked.append(limit)
        return await whole(self, limit=1)

    monkeypatch.setattr(PostgresUnknown, "listed", counted)
    [row] = await listed(house.ports, voter(house, "carol"))
    assert row.open.action_id == first
    assert row.refusal is not None
    assert asked == [UNKNOWN_SHOWN_MAX]

"""Limits that people set, standing approvals taken back, and the log beside budgets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.core.jwk import Algorithm
from broker.core.transparency.entry_leaf import EntryError, open_entry
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny, Escalate, Permit
from broker.core.words.errors import TooLargeError
from broker.core.words.moment import write_moment
from broker.effects.ledger import PostgresLedger
from broker.effects.limits.books import (
    ACCOUNT_KEPT_MAX,
    RECONCILED_ENTRIES_MAX,
    Books,
)
from broker.registry.limits.beside import limit_id
from broker.registry.limits.release import RELEASE_KIND
from broker.registry.records import Change
from broker.watch.books import RELEASE, Account
from tests.support.flow.executor import FakeExecutor
from tests.support.flow.house import STANDING_ID, House, put_row, standing_body
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jwk import PrivateKey
    from broker.core.words.warrant import Warrant

OTHER_ID = "0197a000-0000-7000-8000-0000000000d2"


def books_of(house: House, kept_max: int = ACCOUNT_KEPT_MAX) -> Books:
    entry = key_of("entry", Algorithm.EDDSA)
    keeper: Any = house.keeper
    return Books(
        house.database, house.ledger, key=entry, keeper=keeper, kept_max=kept_max
    )


async def refunded(house: House, *amounts: int) -> list[Any]:
    """Ask for refunds in one interaction; return the answers."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    return [
        await flow.submit(house.ports, house.refund(interaction, amount))
        for amount in amounts
    ]


async def test_a_limit_that_people_set_binds_below_the_policys_and_never_above(
    house: House,
) -> None:
    body = {"rule": "agent-day", "limit": 2_500, "proposed": None}
    await put_row(house, "limit", limit_id("agent-day"), body)
    fits, over = await refunded(house, 2_500, 1)
    assert fits.record.state is ActionState.DONE
    assert isinstance(over.decision, Deny)
    assert over.decision.reasons[0].rule == "agent-day"
    await raised(house, 10**9)
    view = await house.ports.authority.view(house.caller().subject_id, [])
    limits = {rule.rule_id: rule.limit for rule in view.policy.budgets}
    assert limits["agent-day"] == 1_000_000


async def raised(house: House, limit: int) -> None:
    body = {"rule": "agent-day", "limit": limit, "proposed": None}
    now, row_id = house.ports.clock.now(), limit_id("agent-day")
    change = Change("limit", row_id, body, ("bootstrap",), now, 1)
    await house.registry.put(change, house.entry())


async def taken_back(house: House) -> None:
    """Revoke the standing approval, as its endpoint does."""
    row = await house.registry.get("standing_approval", STANDING_ID)
    assert row is not None
    body = {**row.body, "status": "revoked"}
    scopes = (f"standing_approval:{STANDING_ID}",)
    now, after = house.ports.clock.now(), row.revision
    change = Change(
        "standing_approval", STANDING_ID, body, ("bootstrap",), now, after, scopes
    )
    await house.registry.put(change, house.entry())


async def test_a_warrant_under_a_standing_approval_is_void_when_that_is_taken_back(
    house: House,
) -> None:
    (done,) = await refunded(house, 2_500)
    assert isinstance(done.decision, Permit)
    assert done.record.standing_approval == STANDING_ID
    scope = f"standing_approval:{STANDING_ID}"
    assert dict(house.executor.runs[-1].epochs)[scope] == 0
    await taken_back(house)
    # The edge asks for exactly these scopes, before it spends and before it sends.
    row = await house.database.value(
        "SELECT epoch FROM revocation_epoch WHERE scope = $1", scope
    )
    assert row == 1
    (asked,) = await refunded(house, 2_501)
    assert isinstance(asked.decision, Escalate)


async def test_what_was_permitted_under_one_standing_approval_is_paid_by_no_other(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.dies = True
    with pytest.raises(asyncio.CancelledError):
        await flow.submit(house.ports, house.refund(interaction, 1_000))
    house.executor.dies = False
    await put_row(house, "standing_approval", OTHER_ID, standing_body(house, OTHER_ID))
    await taken_back(house)
    await house.lapse()
    [action_id] = await house.ports.store.interrupted(limit=10)
    record = await flow.settle(house.ports, action_id)
    assert record is not None
    assert record.state is ActionState.REFUSED
    assert house.executor.amounts() == []
    assert await house.held() == 0
    # The other one holds by itself.
    (done,) = await refunded(house, 1_001)
    assert done.record.standing_approval == OTHER_ID


async def test_of_several_standing_approvals_the_next_is_used_when_one_is_full(
    house: House,
) -> None:
    # It ends after the first, which has room for four refunds of 5,000.
    later = standing_body(house, OTHER_ID, total=6_000)
    await put_row(house, "standing_approval", OTHER_ID, later)
    answers = await refunded(house, *[5_000 - n for n in range(6)])
    used = [answer.record.standing_approval for answer in answers]
    assert used == [STANDING_ID] * 4 + [OTHER_ID, ""]
    assert isinstance(answers[-1].decision, Escalate)
    assert len(house.executor.amounts()) == 5
    totals = await house.database.rows(
        "SELECT posted FROM budget WHERE rule_id = 'standing' ORDER BY posted"
    )
    assert [row["posted"] for row in totals] == [4_996, 19_994]


async def test_budgets_agree_with_the_log_and_what_is_changed_is_found(
    house: House,
) -> None:
    await refunded(house, 2_500, 12_000, 9_999_999)
    books = books_of(house)
    entries, found = await books.compare()
    assert 0 < entries < RECONCILED_ENTRIES_MAX
    assert list(found) == []
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE budget SET posted = posted - 2000 WHERE rule_id = 'agent-day'"
        )
    _, (lowered,) = await books.compare()
    assert (lowered.rule_id, lowered.log_posted) == ("agent-day", 2_500)
    assert lowered.row_posted == 500
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE budget SET posted = posted + 2000 WHERE rule_id = 'agent-day';"
            "DELETE FROM reservation; UPDATE budget SET held = 0;"
            "DELETE FROM budget WHERE unit = 'customers'"
        )
    _, emptied = await books.compare()
    assert {one.rule_id for one in emptied} == {
        "agent-customers",
        "agent-day",
        "agent-pending",
        "agent-pending-count",
        "customer-day",
        "order-paid",
    }


class Rounding(FakeExecutor):
    """A shop that refunds a cent more than it was asked for."""

    def _values(self, warrant: Warrant, body: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._values(warrant, body)
        return found | {"amount": found["amount"] + 1} if found["amount"] else found


async def test_a_budget_is_frozen_until_the_log_says_that_a_person_released_it(
    house: House,
) -> None:
    house.executor = Rounding()
    house.ports = replace(house.ports, executor=house.executor)
    await refunded(house, 2_500)
    books = books_of(house)
    assert list((await books.compare())[1]) == []
    frozen = await books.budgets(budget_id=None, rule_id="agent-day", frozen=True)
    [budget_id] = {row.budget_id for row in frozen}
    turn = "UPDATE budget SET frozen = NOT frozen WHERE budget_id = $1"
    async with house.admin() as owner:
        await owner.execute(turn, budget_id)
    _, [found] = await books.compare()
    assert (found.rule_id, found.log_frozen, found.row_frozen) == (
        "agent-day",
        True,
        False,
    )
    async with house.admin() as owner:
        await owner.execute(turn, budget_id)
    # Whoever writes to the table lets nothing through: only a signed release does.
    async with house.admin() as owner:
        await owner.execute(turn, budget_id)
    (barred,) = await refunded(house, 100)
    assert isinstance(barred.decision, Deny)
    assert barred.decision.reasons[0].code == "over_budget"
    since = {write_moment(row.window_start): row.total.freezes for row in frozen}
    async with house.admin() as owner:
        others = await owner.fetch(
            "SELECT budget_id, window_start, freezes FROM budget WHERE freezes > 0"
        )
    for row in others:
        windows = {write_moment(row["window_start"]): row["freezes"]}
        await put_row(house, RELEASE_KIND, row["budget_id"], {"windows": windows})
    assert since.items() <= (await house.ports.authority.released(budget_id)).items()
    async with house.admin() as owner:
        await owner.execute("UPDATE budget SET frozen = false")
    (freed,) = await refunded(house, 100)
    assert freed.record.state is ActionState.DONE
    # It was frozen again by that: one release is for what was looked at then.
    async with house.admin() as owner:
        await owner.execute("UPDATE budget SET frozen = false")
    (again,) = await refunded(house, 101)
    assert isinstance(again.decision, Deny)
    async with house.admin() as owner:
        await owner.execute("UPDATE budget SET frozen = freezes > 0")
    said = {"what": RELEASE, "budget": budget_id}
    assert await books.release(budget_id, replace(house.entry(), detail=said)) == 1
    assert list((await books.compare())[1]) == []


async def test_so_much_of_the_log_is_remembered_and_not_one_thing_more(
    house: House,
) -> None:
    await refunded(house, 2_500)
    account = Account()
    for entry in await house.ledger.history.entries(0):
        account.read([open_entry(entry.leaf, house.ledger.keys)])
    assert 0 < account.kept < ACCOUNT_KEPT_MAX
    assert list((await books_of(house, account.kept).compare())[1]) == []
    with pytest.raises(TooLargeError, match="budgets and customers"):
        await books_of(house, account.kept - 1).compare()


async def test_entries_verify_with_any_key_that_the_log_knows(house: House) -> None:
    await refunded(house, 2_500)
    older, now = key_of("entry", Algorithm.EDDSA), key_of("later", Algorithm.EDDSA)
    keeper: Any = house.keeper

    def books(*known: PrivateKey) -> Books:
        keys = {key.kid: key.public() for key in known}
        ledger = PostgresLedger(
            house.database, keys=lambda: keys, alarm=lambda word, more: None
        )
        return Books(house.database, ledger, key=now, keeper=keeper)

    entries, found = await books(now, older).compare()
    assert entries > 0
    assert list(found) == []
    with pytest.raises(EntryError):
        await books(now).compare()

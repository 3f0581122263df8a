"""The Budgets port: what becomes of a reservation, on both sides alike."""

from broker.core.words.budget import COUNT_UNIT, ReservationState, Total, Window
from broker.core.words.money import Money
from broker.effects.limits.budgets import ROWS_SHOWN_MAX
from tests.support.limits.lines import TOMORROW, action, line, total

A, B, C = action(1), action(2), action(3)
HELD, EXECUTING, UNKNOWN, POSTED, VOIDED = (
    ReservationState.HELD,
    ReservationState.EXECUTING,
    ReservationState.UNKNOWN,
    ReservationState.POSTED,
    ReservationState.VOIDED,
)


async def test_what_was_sent_is_posted_and_no_longer_held(budgets) -> None:
    await budgets.reserve(A, [line(amount=60), line("n", unit=COUNT_UNIT)])
    assert (await budgets.execute(A)).state is EXECUTING
    move = await budgets.post(A, actual=Money(60, "USD"))
    assert (move.made, move.state, move.alarms) == (True, POSTED, ())
    assert await total(budgets, line()) == Total(posted=60, held=0, version=2)
    assert (await total(budgets, line("n"))).posted == 1


async def test_less_than_reserved_is_posted_and_the_rest_is_free_again(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    await budgets.post(A, actual=Money(10, "USD"))
    assert await total(budgets, line()) == Total(posted=10, held=0, version=2)
    assert (await budgets.reserve(B, [line(amount=90)])).admitted


async def test_a_receipt_without_an_amount_posts_what_was_reserved(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    await budgets.post(A, actual=None)
    assert (await total(budgets, line())).posted == 60


async def test_more_than_reserved_is_posted_in_full_and_freezes_the_budget(
    budgets,
) -> None:
    lines = [line(amount=60), line("n", unit=COUNT_UNIT)]
    await budgets.reserve(A, lines)
    await budgets.reserve(B, [line(amount=1)])
    await budgets.execute(A)
    move = await budgets.post(A, actual=Money(61, "USD"))
    assert move.made
    assert move.alarms == ("posted_above_reserved",)
    assert move.frozen == (line().budget_id,)
    after = await total(budgets, line())
    assert (after.posted, after.held, after.frozen) == (61, 1, True)
    assert not (await total(budgets, line("n"))).frozen


async def test_a_frozen_budget_admits_and_executes_nothing(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.reserve(B, [line(amount=1)])
    await budgets.execute(A)
    await budgets.post(A, actual=Money(61, "USD"))
    refused = await budgets.reserve(C, [line(amount=1)])
    assert [over.frozen for over in refused.over] == [True]
    assert not (await budgets.reserve(B, [line(amount=1)])).admitted
    stopped = await budgets.execute(B)
    assert (stopped.made, stopped.state) == (False, HELD)
    assert stopped.frozen == (line().budget_id,)
    assert (await budgets.void(B)).made


async def test_another_currency_than_reserved_leaves_the_outcome_unknown(
    budgets,
) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    move = await budgets.post(A, actual=Money(60, "EUR"))
    assert (move.made, move.state) == (False, UNKNOWN)
    assert move.alarms == ("currency_mismatch",)
    assert await total(budgets, line()) == Total(held=60, version=1)


async def test_pending_budgets_forget_what_was_posted(budgets) -> None:
    pending = line("pending", window=Window.PENDING, amount=60)
    await budgets.reserve(A, [pending, line(amount=60)])
    await budgets.execute(A)
    await budgets.unknown(A)
    assert (await total(budgets, pending)).held == 60
    await budgets.post(A, actual=Money(61, "USD"))
    assert await total(budgets, pending) == Total(posted=0, held=0, version=2)
    assert (await total(budgets, line())).posted == 61


async def test_an_unknown_outcome_keeps_the_money_held_until_it_is_known(
    budgets,
) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    assert (await budgets.unknown(A)).state is UNKNOWN
    assert not (await budgets.execute(A)).made
    assert (await total(budgets, line())).held == 60
    assert (await budgets.post(A, actual=Money(60, "USD"))).state is POSTED


async def test_an_expiry_leaves_alone_what_executes_already(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    kept = await budgets.void(A, only_held=True)
    assert (kept.made, kept.state) == (False, EXECUTING)
    await budgets.reserve(B, [line(amount=30)])
    assert (await budgets.void(B, only_held=True)).made
    assert (await total(budgets, line())).held == 60


async def test_each_end_may_be_repeated_and_changes_nothing_twice(budgets) -> None:
    for number, word in enumerate(("post", "void"), start=1):
        mine = action(number)
        await budgets.reserve(mine, [line(amount=10)])
        await budgets.execute(mine)
        assert (await budgets.execute(mine)).made
        for _ in range(2):
            if word == "post":
                move = await budgets.post(mine, actual=Money(10, "USD"))
            else:
                move = await budgets.void(mine)
            assert move.made
    assert (await total(budgets, line())).posted == 10
    assert (await total(budgets, line())).held == 0


async def test_what_was_posted_is_never_given_back(budgets) -> None:
    await budgets.reserve(A, [line(amount=10)])
    await budgets.execute(A)
    await budgets.post(A, actual=Money(10, "USD"))
    for move in (await budgets.void(A), await budgets.unknown(A)):
        assert (move.made, move.state) == (False, POSTED)
    assert (await total(budgets, line())).posted == 10


async def test_a_receipt_that_contradicts_what_was_settled_raises_an_alarm(
    budgets,
) -> None:
    for mine in (A, B):
        await budgets.reserve(mine, [line(amount=10)])
        await budgets.execute(mine)
    await budgets.post(A, actual=Money(10, "USD"))
    await budgets.void(B)
    differs = await budgets.post(A, actual=Money(9, "USD"))
    assert differs.alarms == ("posted_differs",)
    late = await budgets.post(B, actual=Money(10, "USD"))
    assert (late.made, late.state) == (False, VOIDED)
    assert late.alarms == ("posted_after_void",)
    assert await total(budgets, line()) == Total(posted=10, held=0, version=4)


async def test_nothing_is_posted_that_was_not_executing(budgets) -> None:
    await budgets.reserve(A, [line(amount=10)])
    move = await budgets.post(A, actual=Money(10, "USD"))
    assert (move.made, move.state) == (False, HELD)
    assert not (await budgets.unknown(A)).made


async def test_an_action_that_reserved_nothing_moves_nowhere(budgets) -> None:
    for move in (
        await budgets.execute(A),
        await budgets.void(A),
        await budgets.unknown(A),
        await budgets.post(A, actual=None),
    ):
        assert (move.made, move.state) == (False, None)


async def test_an_open_reservation_posts_in_the_window_that_it_was_made_in(
    budgets,
) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.execute(A)
    await budgets.reserve(B, [line(amount=100, window_start=TOMORROW)])
    await budgets.post(A, actual=Money(60, "USD"))
    assert (await total(budgets, line())).posted == 60
    tomorrow = await total(budgets, line(window_start=TOMORROW))
    assert tomorrow == Total(posted=0, held=100, version=1)


# -------------------------------------------------------------------- for people


async def test_budgets_and_reservations_can_be_listed(budgets) -> None:
    await budgets.reserve(A, [line("a", amount=60), line("b", amount=60)])
    await budgets.reserve(B, [line("a", amount=10)])
    await budgets.execute(B)
    rows = {row.rule_id: row for row in await budgets.budgets()}
    assert rows["a"].total.held == 70
    assert (rows["a"].limit_seen, rows["a"].unit) == (100, "USD")
    assert rows["a"].scope == (("agent", "agent-1"),)
    (only,) = await budgets.budgets(budget_id=line("b").budget_id)
    assert only.rule_id == "b"
    found = await budgets.reservations(states=[EXECUTING])
    assert [(row.action_id, row.amount, row.posted) for row in found] == [(B, 10, None)]
    assert len(await budgets.reservations(action_id=A)) == 2
    mine = await budgets.reservations(budget_id=line("a").budget_id)
    assert {row.action_id for row in mine} == {A, B}
    assert len(await budgets.reservations(rows_max=1)) == 1
    assert len(await budgets.budgets(rows_max=ROWS_SHOWN_MAX + 1)) == 2

"""The Budgets port: who is admitted; the same for PostgreSQL and for the fake."""

from dataclasses import replace

import pytest

from broker.core.words.budget import COUNT_UNIT, ReservationState, Total
from broker.core.words.money import Money
from tests.support.limits.lines import TOMORROW, action, line, total

A, B, C = action(1), action(2), action(3)
HELD, EXECUTING = ReservationState.HELD, ReservationState.EXECUTING


# ---------------------------------------------------------------------- admission


async def test_what_fits_is_held(budgets) -> None:
    admission = await budgets.reserve(A, [line(amount=60)])
    assert admission.admitted
    assert admission.state is HELD
    assert await total(budgets, line()) == Total(posted=0, held=60, version=1)


async def test_two_pending_refunds_cannot_share_the_last_cent(budgets) -> None:
    assert (await budgets.reserve(A, [line(amount=100)])).admitted
    refused = await budgets.reserve(B, [line(amount=1)])
    assert not refused.admitted
    assert refused.state is None
    (over,) = refused.over
    assert (over.rule_id, over.posted, over.held) == ("agent", 0, 100)
    assert (await total(budgets, line())).held == 100


async def test_exactly_the_limit_fits_and_one_more_does_not(budgets) -> None:
    assert (await budgets.reserve(A, [line(amount=99)])).admitted
    assert not (await budgets.reserve(B, [line(amount=2)])).admitted
    assert (await budgets.reserve(B, [line(amount=1)])).admitted


async def test_one_full_budget_leaves_the_others_untouched(budgets) -> None:
    lines = [line("a"), line("b", limit=0), line("c")]
    refused = await budgets.reserve(A, lines)
    assert [over.rule_id for over in refused.over] == ["b"]
    assert await total(budgets, line("a")) == Total()
    assert await total(budgets, line("c")) == Total()


async def test_all_full_budgets_are_named(budgets) -> None:
    lines = [line("a", limit=0), line("b"), line("c", limit=0)]
    refused = await budgets.reserve(A, lines)
    assert {over.rule_id for over in refused.over} == {"a", "c"}


async def test_the_same_action_takes_once(budgets) -> None:
    first = await budgets.reserve(A, [line(amount=60)])
    assert await budgets.reserve(A, [line(amount=60)]) == first
    assert await total(budgets, line()) == Total(held=60, version=1)


async def test_an_action_without_lines_is_admitted_and_has_no_reservation(
    budgets,
) -> None:
    admission = await budgets.reserve(A, [])
    assert admission.admitted
    assert admission.state is None
    assert not (await budgets.execute(A)).made


async def test_a_lowered_limit_binds_new_reservations_only(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    assert (await budgets.reserve(A, [line(amount=60, limit=10)])).admitted
    assert not (await budgets.reserve(B, [line(amount=1, limit=10)])).admitted
    assert (await budgets.execute(A)).made


async def test_windows_do_not_share_room(budgets) -> None:
    tomorrow = line(amount=100, window_start=TOMORROW)
    assert (await budgets.reserve(A, [line(amount=100)])).admitted
    assert (await budgets.reserve(B, [tomorrow])).admitted
    assert not (await budgets.reserve(C, [replace(tomorrow, amount=1)])).admitted


async def test_counts_obey_the_same_rule(budgets) -> None:
    calls = line("calls", unit=COUNT_UNIT, limit=2)
    assert (await budgets.reserve(A, [calls])).admitted
    assert (await budgets.reserve(B, [calls])).admitted
    assert not (await budgets.reserve(C, [calls])).admitted


# -------------------------------------------------------------- totals and staleness


async def test_a_total_that_moved_since_the_policy_looked_makes_it_stale(
    budgets,
) -> None:
    await budgets.reserve(A, [line(amount=1)])
    stale = await budgets.reserve(B, [line(amount=1, version=0)])
    assert not stale.admitted
    assert [one.rule_id for one in stale.stale] == ["agent"]
    assert (await budgets.reserve(B, [line(amount=1, version=1)])).admitted


async def test_a_total_that_nobody_looked_at_makes_nothing_stale(budgets) -> None:
    await budgets.reserve(A, [line(amount=1)])
    assert (await budgets.reserve(B, [line(amount=1, version=None)])).admitted


async def test_a_budget_that_had_no_row_is_seen_as_version_0(budgets) -> None:
    assert (await budgets.reserve(A, [line(version=0)])).admitted


async def test_every_change_moves_the_version(budgets) -> None:
    seen = [await total(budgets, line())]
    await budgets.reserve(A, [line()])
    seen.append(await total(budgets, line()))
    await budgets.void(A)
    seen.append(await total(budgets, line()))
    assert [one.version for one in seen] == [0, 1, 2]


async def test_totals_leave_out_what_the_asking_action_holds_itself(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    await budgets.reserve(B, [line(amount=30)])
    key = line().key
    assert (await budgets.totals([key], besides=A))[key].held == 30
    assert (await budgets.totals([key]))[key].held == 90
    await budgets.execute(A)
    await budgets.post(A, actual=Money(60, "USD"))
    assert (await budgets.totals([key], besides=A))[key] == Total(60, 30, 3)


# ---------------------------------------------------------------- deciding again


async def test_deciding_again_in_a_new_window_moves_the_reservation(budgets) -> None:
    tomorrow = line(amount=60, window_start=TOMORROW)
    await budgets.reserve(A, [line(amount=60)])
    assert (await budgets.reserve(A, [tomorrow])).admitted
    assert (await total(budgets, line())).held == 0
    assert (await total(budgets, tomorrow)).held == 60


async def test_deciding_again_under_other_rules_takes_the_new_lines(budgets) -> None:
    await budgets.reserve(A, [line("a", amount=60), line("b", amount=60)])
    assert (await budgets.reserve(A, [line("b", amount=60), line("c")])).admitted
    held = [(await total(budgets, line(name))).held for name in "abc"]
    assert held == [0, 60, 1]


async def test_deciding_again_without_room_keeps_what_was_held(budgets) -> None:
    await budgets.reserve(A, [line("a", amount=60)])
    refused = await budgets.reserve(A, [line("c", amount=60, limit=1)])
    assert not refused.admitted
    assert refused.state is HELD
    assert (await total(budgets, line("a"))).held == 60


async def test_growing_needs_room_for_the_difference_only(budgets) -> None:
    await budgets.reserve(A, [line(amount=60)])
    assert (await budgets.reserve(A, [line(amount=100)])).admitted
    assert (
        not (await budgets.reserve(A, [line(amount=100), line("b", limit=0)]))
        .over[0]
        .posted
    )
    assert (await total(budgets, line())).held == 100


@pytest.mark.parametrize("end", ["post", "void", "unknown"])
async def test_an_action_that_ended_reserves_nothing_again(budgets, end) -> None:
    await budgets.reserve(A, [line(amount=10)])
    await budgets.execute(A)
    await _end(budgets, end)
    before = await total(budgets, line())
    again = await budgets.reserve(A, [line(amount=10)])
    assert not again.admitted
    assert await total(budgets, line()) == before


async def test_an_executing_action_is_still_admitted_and_unchanged(budgets) -> None:
    await budgets.reserve(A, [line(amount=10)])
    await budgets.execute(A)
    again = await budgets.reserve(A, [line("other", amount=99)])
    assert again.admitted
    assert again.state is EXECUTING
    assert (await total(budgets, line("other"))).held == 0


async def _end(budgets, word):
    if word == "post":
        return await budgets.post(A, actual=Money(10, "USD"))
    return await (budgets.void(A) if word == "void" else budgets.unknown(A))

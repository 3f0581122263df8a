"""Replay: the same policy flips nothing, a wrong change is caught with its money."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.authorize import Question
from broker.core.limit import UNCOVERED
from broker.core.sealed.decided import Decided, Taken
from broker.core.words.decision import Deny, Escalate, VerdictWord
from broker.registry.appetite.checks import check_sources
from broker.registry.policy.books import limits_of, rule_book
from broker.watch.replay import (
    FLIPS_SHOWN_MAX,
    Candidate,
    Flip,
    Recorded,
    Tally,
    decision_of,
    from_json,
    label,
    replay,
    to_json,
)
from tests.support.cases import AGENT_ID, all_tools, demo_sources, question

TOOLS = all_tools()


def candidate(*changes: tuple[str, str, str], version: int = 1) -> Candidate:
    """Return the demo's policy with texts of its files replaced."""
    sources = demo_sources()
    for file, old, new in changes:
        assert old in sources[file], old
        sources[file] = sources[file].replace(old, new)
    body = check_sources(sources, TOOLS).folder.body()
    _, budgets = limits_of(body)
    return Candidate.of(rule_book({"version": version, **body}, TOOLS), budgets)


LIVE = candidate()
# The threshold between one supervisor and two, moved from 1,000.00 to 2,000.00.
WRONG = candidate(("appetite.toml", '"1000.00"', '"2000.00"'))
ASKED = question(totals=dict.fromkeys(LIVE.book.totals, 0))


def decided(taken: tuple[Taken, ...] = (), **changes: Any) -> Decided:
    verdict = changes.pop("verdict", VerdictWord.CLEAN)
    findings = changes.pop("findings_held", ())
    version = changes.pop("version", 1)
    return Decided(replace(ASKED, **changes), verdict, findings, taken, version)


def recorded(made: Decided, *, action_id: str = "a", code: str = "") -> Recorded:
    """Return the record that the live policy would have left."""
    decision = decision_of(made, LIVE)
    quorum = None
    if isinstance(decision, Escalate):
        quorum = (decision.quorum.approvers_min, decision.quorum.role)
    word = label(decision).partition(" ")[0]
    return Recorded(action_id, word, code or decision.reasons[0].code, quorum, made)


requests = st.builds(
    decided,
    tool=st.just("orders.refund"),
    amount_minor_units=st.sampled_from([100, 2_500, 99_999, 100_001, 150_000, 600_000]),
    standing=st.booleans(),
    verification=st.integers(0, 3),
    customer_bound=st.booleans(),
    hour=st.integers(0, 23),
    verdict=st.sampled_from(VerdictWord),
    findings_held=st.sampled_from([(), ("model_authored",)]),
)


@settings(max_examples=30)
@given(made=st.lists(requests, max_size=5))
def test_the_policy_in_force_flips_nothing_that_it_decided(made: list[Decided]) -> None:
    found = replay([recorded(one) for one in made], candidate=LIVE, live=LIVE)
    assert (found.replayed, found.flips, found.shown) == (len(made), {}, [])


def test_a_threshold_that_was_moved_is_caught_with_count_and_money() -> None:
    amounts = [50_000, 100_001, 150_000, 250_000]
    records = [
        recorded(decided(amount_minor_units=n, standing=False), action_id=str(n))
        for n in amounts
    ]
    found = replay(records, candidate=WRONG, live=LIVE)
    flip = Flip(
        "escalate 2 supervisor",
        "escalate 1 supervisor",
        "orders.refund",
        AGENT_ID,
        "USD",
    )
    assert found.flips == {flip: (2, 250_001)}
    assert (found.replayed, found.flipped) == (4, 2)
    assert [one[0] for one in found.shown] == ["100001", "150000"]
    assert found.outcomes == {"escalate 1 supervisor": 3, "escalate 2 supervisor": 1}


def test_what_an_earlier_version_decided_is_compared_with_the_policy_in_force() -> None:
    # Recorded as a denial by version 7, which nobody asks about any more.
    made = decided(amount_minor_units=50_000, standing=False, version=7)
    old = Recorded("a", "deny", "forbidden_by_rule", None, made)
    assert replay([old], candidate=LIVE, live=LIVE).flips == {}
    now = replace(old, decided=replace(made, policy_version=1))
    assert replay([now], candidate=LIVE, live=LIVE).flipped == 1


def test_a_lowered_budget_denies_what_had_room() -> None:
    tight = candidate(("limits.toml", "limit = 1_000_000", "limit = 5_000"))
    room = Taken("agent-day", "USD", 2_500, 1_000_000, 2_500)
    full = Taken("agent-day", "USD", 2_500, 1_000_000, 2_501)
    records = [recorded(decided((one,))) for one in (room, full)]
    found = replay(records, candidate=tight, live=LIVE)
    assert [(f.before, f.after, n) for f, n in found.flips.items()] == [
        ("permit", "deny", (1, 2_500))
    ]
    assert found.shown[0][3] == "agent-day"


def test_a_receipts_ceiling_and_a_used_standing_approval_are_kept_as_they_were() -> (
    None
):
    over = Taken("order-paid", "USD", 2_500, 2_000, 0)
    assert isinstance(decision_of(decided((over,)), LIVE), Deny)
    used = Taken("standing", "USD", 2_500, 100, 0)
    assert label(decision_of(decided((used,)), LIVE)) == "permit"
    denied = decision_of(decided(), Candidate(LIVE.book, {}))
    assert [reason.rule for reason in denied.reasons] == [UNCOVERED]


def test_a_cap_on_one_action_denies_what_is_larger() -> None:
    rule = replace(LIVE.budgets["agent-day"], per_action=2_499)
    capped = Candidate(LIVE.book, {**LIVE.budgets, "agent-day": rule})
    one = Taken("agent-day", "USD", 2_500, 1_000_000, 0)
    assert label(decision_of(decided((one,)), capped)) == "deny"
    assert label(decision_of(decided((one,)), LIVE)) == "permit"


def test_a_total_that_nobody_recorded_leaves_the_request_out() -> None:
    reads = replace(WRONG.book, reads=frozenset({"never-recorded"}))
    new = Candidate(reads, WRONG.budgets)
    found = replay([recorded(decided())], candidate=new, live=LIVE)
    assert (found.replayed, found.left_out) == (0, {"total_not_recorded": 1})


def test_totals_that_were_moving_say_nothing_about_a_policy() -> None:
    found = replay(
        [recorded(decided(), code="totals_moving")], candidate=WRONG, live=LIVE
    )
    assert (found.replayed, found.left_out) == (0, {"totals_moving": 1})


def test_so_many_single_flips_are_named_and_all_are_counted() -> None:
    made = decided(amount_minor_units=150_000, standing=False)
    records = [
        recorded(made, action_id=str(number)) for number in range(FLIPS_SHOWN_MAX)
    ]
    found = replay(records, candidate=WRONG, live=LIVE)
    assert len(found.shown) == FLIPS_SHOWN_MAX
    found.add(replay(records[:1], candidate=WRONG, live=LIVE))
    assert len(found.shown) == FLIPS_SHOWN_MAX
    assert found.flipped == FLIPS_SHOWN_MAX + 1


@given(made=st.lists(requests, max_size=6), cut=st.integers(0, 6))
@settings(max_examples=15)
def test_pages_add_up_to_the_whole(made: list[Decided], cut: int) -> None:
    records = [recorded(one) for one in made]
    whole = replay(records, candidate=WRONG, live=LIVE)
    joined = Tally()
    for page in (records[:cut], records[cut:]):
        found = replay(page, candidate=WRONG, live=LIVE)
        joined.add(from_json(json.loads(json.dumps(to_json(found)))))
    assert joined == whole


@pytest.mark.parametrize("verdict", VerdictWord)
def test_what_a_guard_said_is_said_again(verdict: VerdictWord) -> None:
    made = decided(verdict=verdict, findings_held=("model_authored",))
    assert isinstance(made.question, Question)
    expected = {
        VerdictWord.CLEAN: "permit",
        VerdictWord.HOLD: "escalate 1 supervisor",
        VerdictWord.BLOCK: "deny",
    }
    assert label(decision_of(made, LIVE)) == expected[verdict]

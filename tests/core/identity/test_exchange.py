"""What is lent is less on every axis, ends with its source, and goes no deeper."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.chain import ACTORS_MAX
from broker.core.identity.exchange import (
    CHILD_TTL_S_MAX,
    Ceiling,
    ChainError,
    child_chain,
    child_counts,
    child_end,
    child_epochs,
    child_grant,
)
from broker.core.identity.grants import (
    COUNT_MAX,
    GRANT_TOOLS_MAX,
    GrantError,
    is_within,
    parse_details,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.core.words.subject import Epochs, Grant
from tests.support.identities import NOW, access_token

TOOLS = ["orders.get", "orders.refund", "customers.get", "orders.cancel"]
IDS = [f"0197a000-0000-7000-8000-0000000000e{n}" for n in range(2)]

tools = st.frozensets(st.sampled_from(TOOLS))
whole = st.integers(0, AMOUNT_MINOR_UNITS_MAX)
grants = st.builds(
    lambda cap, **rest: Grant(
        amount_max_minor_units=cap[0] if cap else None,
        currency=cap[1] if cap else "",
        **rest,
    ),
    st.none() | st.tuples(whole, st.sampled_from(["USD", "EUR"])),
    tools=tools,
    interaction_id=st.sampled_from(["", *IDS]),
    tier_max=st.none() | st.integers(1, 3),
    count_max=st.none() | st.integers(1, COUNT_MAX),
    customer_ref=st.sampled_from(["", "r-1", "r-2"]),
)
ceilings = st.lists(
    st.builds(Ceiling, tools=tools, tier_max=st.integers(1, 3)), min_size=1, max_size=4
)


def covered(grant: Grant, tool: str, amount: int, currency: str, tier: int) -> bool:
    """Return what a grant says about one call, written down a second time."""
    return (
        (not grant.tools or tool in grant.tools)
        and (
            grant.amount_max_minor_units is None
            or (currency == grant.currency and amount <= grant.amount_max_minor_units)
        )
        and (grant.tier_max is None or tier <= grant.tier_max)
    )


@given(parent=grants, rows=ceilings, asked=grants)
def test_a_child_is_within_its_parent_on_every_axis_or_there_is_none(
    parent: Grant, rows: list[Ceiling], asked: Grant
) -> None:
    try:
        child = child_grant(parent, rows=rows, asked=asked)
    except GrantError:
        return
    assert is_within(child, parent)
    assert is_within(child, asked)
    assert child.tools
    for row in rows:
        assert child.tools <= row.tools
        assert child.tier_max is not None
        assert child.tier_max <= row.tier_max


@given(
    parent=grants,
    rows=ceilings,
    asked=grants,
    call=st.tuples(
        st.sampled_from(TOOLS),
        whole,
        st.sampled_from(["USD", "EUR"]),
        st.integers(1, 3),
    ),
)
def test_no_call_is_covered_by_a_child_that_its_parent_does_not_cover(
    parent, rows, asked, call
) -> None:
    try:
        child = child_grant(parent, rows=rows, asked=asked)
    except GrantError:
        return
    everybody = [
        parent,
        asked,
        *(Grant(tools=frozenset(r.tools or {""})) for r in rows),
    ]
    assert covered(child, *call) <= all(
        covered(one, *call) for one in everybody if one is not None
    )


@given(one=grants, two=grants, three=grants)
def test_being_within_is_an_order(one: Grant, two: Grant, three: Grant) -> None:
    assert is_within(one, one)
    if is_within(one, two) and is_within(two, three):
        assert is_within(one, three)


@pytest.mark.parametrize(
    ("parent", "asked"),
    [
        (Grant(tools=frozenset({"orders.get"})), Grant(tools=frozenset({"orders.x"}))),
        (Grant(interaction_id=IDS[0]), Grant(interaction_id=IDS[1])),
        (Grant(customer_ref="a"), Grant(customer_ref="b")),
        (
            Grant(amount_max_minor_units=5, currency="USD"),
            Grant(amount_max_minor_units=5, currency="EUR"),
        ),
    ],
)
def test_an_empty_intersection_is_no_grant(parent: Grant, asked: Grant) -> None:
    rows = [Ceiling(frozenset({"orders.get", "orders.x"}), 3)]
    with pytest.raises(GrantError):
        child_grant(parent, rows=rows, asked=asked)


def test_as_many_tools_as_a_grant_may_name_are_lent_and_one_more_is_not() -> None:
    names = [f"orders.t{number}" for number in range(GRANT_TOOLS_MAX + 1)]
    most = [Ceiling(frozenset(names[1:]), 3)]
    assert len(child_grant(Grant(), rows=most, asked=Grant()).tools) == GRANT_TOOLS_MAX
    with pytest.raises(GrantError, match="name up to"):
        child_grant(Grant(), rows=[Ceiling(frozenset(names), 3)], asked=Grant())


@given(left_s=st.integers(1, 300))
def test_a_child_ends_with_its_parent_and_after_its_longest_life_at_most(
    left_s: int,
) -> None:
    ends = child_end(NOW + timedelta(seconds=left_s), now=NOW)
    assert (ends - NOW).total_seconds() == min(left_s, CHILD_TTL_S_MAX)
    assert (child_end(None, now=NOW) - NOW).total_seconds() == CHILD_TTL_S_MAX


def test_a_chain_grows_to_its_limit_and_never_in_a_circle() -> None:
    actors: tuple[str, ...] = ()
    for number in range(ACTORS_MAX):
        actors = child_chain(f"agent:{number}", principal="agent:p", actors=actors)
    assert actors == ("agent:2", "agent:1", "agent:0")
    with pytest.raises(ChainError, match="up to"):
        child_chain("agent:9", principal="agent:p", actors=actors)
    for again in ("agent:p", "agent:0", "agent:1"):
        with pytest.raises(ChainError, match="twice"):
            child_chain(again, principal="agent:p", actors=actors[1:])


@given(
    parent=st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1),
    current=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
    now=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)),
)
def test_whatever_voids_the_parent_voids_the_child(parent, current, now) -> None:
    above = Epochs(tuple(parent.items()))
    child = child_epochs(above, current)
    if not above.current_under(now):
        assert not child.current_under(now)
    assert {scope for scope, _ in child.scopes} == {*parent, *current}


def test_what_a_child_uses_is_used_up_for_everybody_above_it() -> None:
    parent = access_token(counts=(("grant-1", 5),))
    assert child_counts(parent, Grant(count_max=2), name="link") == (
        ("grant-1", 5),
        ("link", 2),
    )
    assert child_counts(parent, Grant(), name="link") == (("grant-1", 5),)
    assert child_counts(None, Grant(count_max=1), name="link") == (("link", 1),)


@pytest.mark.parametrize(
    ("detail", "fine"),
    [
        ('"tier_max": 1', True),
        ('"tier_max": 3', True),
        ('"tier_max": 0', False),
        ('"tier_max": 4', False),
        ('"tier_max": true', False),
        ('"count_max": 1', True),
        (f'"count_max": {COUNT_MAX}', True),
        (f'"count_max": {COUNT_MAX + 1}', False),
        ('"count_max": 0', False),
        ('"count_max": "1"', False),
        ('"customer": "r-1"', True),
        ('"customer": ""', False),
        ('"customer": "a b"', False),
        (f'"customer": "{"x" * 129}"', False),
        ('"customer": 5', False),
    ],
)
def test_further_axes_are_read_within_their_limits(detail: str, fine: bool) -> None:  # noqa: FBT001
    text = f'[{{"type": "counterfoil", {detail}}}]'
    if fine:
        assert parse_details(text) != Grant()
    else:
        with pytest.raises(GrantError):
            parse_details(text)

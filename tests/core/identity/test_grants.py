"""Grants narrow on every axis, and nothing that can be written widens."""

import json

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from broker.core.identity.grants import (
    DETAILS_BYTES_MAX,
    DETAILS_DEPTH_MAX,
    GRANT_TOOLS_MAX,
    SCOPE_CHARS_MAX,
    GrantError,
    granted_tools,
    is_within,
    narrow,
    parse_details,
    parse_scope,
    write_detail,
)
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.core.words.subject import Grant
from tests.support.identities import INTERACTION_ID

OTHER_ID = INTERACTION_ID.replace("e1", "e2")
tool_sets = st.frozensets(
    st.sampled_from(["orders.get", "orders.refund", "customers.get"]), max_size=3
)
caps = st.none() | st.integers(0, AMOUNT_MINOR_UNITS_MAX)


@st.composite
def grants(draw):
    cap = draw(caps)
    return Grant(
        tools=draw(tool_sets),
        amount_max_minor_units=cap,
        currency="" if cap is None else draw(st.sampled_from(["USD", "EUR"])),
        interaction_id=draw(st.sampled_from(["", INTERACTION_ID, OTHER_ID])),
    )


@given(grants())
def test_a_written_grant_reads_back(grant):
    assert parse_details(json.dumps([write_detail(grant)])) == grant


@given(grants(), grants())
def test_what_two_grants_leave_is_within_both(one, other):
    try:
        both = narrow(one, other)
    except GrantError:
        reject()
    assert is_within(both, one)
    assert is_within(both, other)
    assert narrow(other, one) == both


GET, REFUND = frozenset({"orders.get"}), frozenset({"orders.refund"})


def test_what_both_leave_is_taken_axis_by_axis():
    wide = Grant(GET | REFUND, 500, "USD", "")
    by = Grant(REFUND, 300, "USD", INTERACTION_ID)
    assert narrow(wide, by) == Grant(REFUND, 300, "USD", INTERACTION_ID)
    assert narrow(Grant(), by) == by
    assert narrow(Grant(GET), Grant(amount_max_minor_units=1, currency="EUR")) == Grant(
        GET, 1, "EUR", ""
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Grant(GET), Grant(REFUND)),
        (Grant(interaction_id=INTERACTION_ID), Grant(interaction_id=OTHER_ID)),
        (Grant(frozenset(), 1, "USD"), Grant(frozenset(), 1, "EUR")),
    ],
)
def test_grants_that_contradict_each_other_leave_nothing(one, other):
    with pytest.raises(GrantError):
        narrow(one, other)


PARENT = Grant(GET | REFUND, 500, "USD", INTERACTION_ID)


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (Grant(GET | frozenset({"x.y"}), 500, "USD", INTERACTION_ID), PARENT),
        (Grant(frozenset(), 500, "USD", INTERACTION_ID), PARENT),
        (Grant(GET, 501, "USD", INTERACTION_ID), PARENT),
        (Grant(GET, 500, "EUR", INTERACTION_ID), PARENT),
        (Grant(GET, None, "", INTERACTION_ID), PARENT),
        (Grant(GET, 500, "USD", OTHER_ID), PARENT),
        (Grant(GET, 500, "USD", ""), PARENT),
        (Grant(GET), Grant(interaction_id=INTERACTION_ID)),
        (Grant(interaction_id=INTERACTION_ID), Grant(GET, None, "", INTERACTION_ID)),
        (Grant(GET, None, "", OTHER_ID), Grant(GET, None, "", INTERACTION_ID)),
        (Grant(REFUND, None, "", INTERACTION_ID), Grant(GET, None, "", INTERACTION_ID)),
    ],
)
def test_more_on_any_one_axis_is_not_within(child, parent):
    assert not is_within(child, parent)


def test_the_same_or_less_on_every_axis_is_within():
    for child in (
        PARENT,
        Grant(GET, 500, "USD", INTERACTION_ID),
        Grant(GET, 0, "USD", INTERACTION_ID),
    ):
        assert is_within(child, PARENT)


@given(grants(), grants(), grants())
def test_being_within_is_passed_on(one, two, three):
    if is_within(one, two) and is_within(two, three):
        assert is_within(one, three)


@given(grants())
def test_everything_is_within_itself_and_within_no_narrowing(grant):
    assert is_within(grant, grant)
    assert is_within(grant, Grant())
    assert narrow(grant, Grant()) == grant


@given(tool_sets, tool_sets)
def test_a_grant_never_adds_a_tool_to_the_row(asked, row):
    left = granted_tools(Grant(tools=asked), row)
    assert left <= row
    assert left == (row & asked if asked else row)


@given(grants(), tool_sets)
def test_a_child_never_gets_a_tool_that_its_parent_has_not(parent, row):
    for child_tools in (parent.tools, frozenset({"orders.get"})):
        child = Grant(
            child_tools,
            parent.amount_max_minor_units,
            parent.currency,
            parent.interaction_id,
        )
        if is_within(child, parent):
            assert granted_tools(child, row) <= granted_tools(parent, row)


BASE = {"type": "counterfoil"}


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"type": "other"},
        BASE | {"tool": "orders.get"},
        BASE | {"tools": []},
        BASE | {"tools": "orders.get"},
        BASE | {"tools": ["orders.*"]},
        BASE | {"tools": [1]},
        BASE | {"interaction": ""},
        BASE | {"interaction": INTERACTION_ID.upper()},
        BASE | {"interaction": None},
        BASE | {"amount_max_minor_units": 5},
        BASE | {"currency": "USD"},
        BASE | {"amount_max_minor_units": -1, "currency": "USD"},
        BASE | {"amount_max_minor_units": True, "currency": "USD"},
        BASE | {"amount_max_minor_units": "5", "currency": "USD"},
        BASE | {"amount_max_minor_units": 5, "currency": "usd"},
        BASE | {"amount_max_minor_units": 5, "currency": None},
    ],
)
def test_a_detail_that_is_not_exactly_one_of_ours_is_refused(detail):
    with pytest.raises(GrantError):
        parse_details(json.dumps([detail]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[1]",
        json.dumps([BASE, BASE]),
        '[{"type":"counterfoil","type":"counterfoil"}]',
        '[{"type":"counterfoil","amount_max_minor_units":1e3,"currency":"USD"}]',
        "[" * (DETAILS_DEPTH_MAX + 1) + "]" * (DETAILS_DEPTH_MAX + 1),
        "\ud800",
    ],
)
def test_another_document_is_refused(text):
    with pytest.raises(GrantError):
        parse_details(text)


def test_a_document_at_its_size_limit_is_read_and_a_longer_one_is_not():
    text = '[{"type":"counterfoil"}]'.ljust(DETAILS_BYTES_MAX)
    assert parse_details(text) == Grant()
    with pytest.raises(GrantError):
        parse_details(text + " ")


def test_a_scope_at_its_length_limit_is_read_and_a_longer_one_is_not():
    words = [f"tool:{f'a{n:02d}'.ljust(32, 'x')}.{'y' * 32}" for n in range(28)]
    scope = " ".join([*words, f"tool:{'a' * 27}.{'b' * 27}"])
    assert len(scope) == SCOPE_CHARS_MAX
    assert len(parse_scope(scope).tools) == 29
    with pytest.raises(GrantError, match="longer"):
        parse_scope(scope + "b")


def test_as_many_tools_as_the_limit_are_read_and_one_more_is_not():
    tools = [f"t.x{number}" for number in range(GRANT_TOOLS_MAX + 1)]
    fits = parse_details(json.dumps([BASE | {"tools": tools[:-1]}]))
    assert len(fits.tools) == GRANT_TOOLS_MAX
    with pytest.raises(GrantError, match="tools"):
        parse_details(json.dumps([BASE | {"tools": tools}]))


def test_as_many_tools_as_the_limit_and_an_interaction_fit_into_a_scope():
    words = [f"tool:t.x{number}" for number in range(GRANT_TOOLS_MAX)]
    grant = parse_scope(" ".join([*words, f"interaction:{INTERACTION_ID}"]))
    assert len(grant.tools) == GRANT_TOOLS_MAX
    assert parse_details(json.dumps([write_detail(grant)])) == grant


def test_scopes_say_the_same_as_details():
    scope = f"interaction:{INTERACTION_ID} tool:orders.get"
    assert parse_scope(scope) == Grant(
        tools=frozenset({"orders.get"}), interaction_id=INTERACTION_ID
    )
    assert parse_scope("") == Grant()


@pytest.mark.parametrize(
    "scope",
    [
        "openid",
        "tool:*",
        "tool:orders.get  tool:orders.refund",
        "tool:orders.get tool:orders.get",
        f"interaction:{INTERACTION_ID} interaction:{OTHER_ID}",
        "interaction:*",
        "tool:orders.get\n",
        "tool:orders.get\x00",
        " ",
        "tool:" + "a" * SCOPE_CHARS_MAX,
        " ".join(f"tool:t.x{number}" for number in range(GRANT_TOOLS_MAX + 1)),
    ],
)
def test_another_scope_is_refused(scope):
    with pytest.raises(GrantError, match="scope"):
        parse_scope(scope)

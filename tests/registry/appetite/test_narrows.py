"""A row of a use case that reads as if it allowed more is refused by its line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.words.decision import Quorum, Rung
from broker.core.words.effect import Effect
from broker.registry.appetite.narrows import (
    CELLS_MAX,
    ELSEWHERE,
    cells_of,
    check_narrows,
    check_roles,
)
from broker.registry.appetite.words import COMPANY, Row, Table, Then
from broker.registry.policy.cedar_text import PolicyError
from tests.support.cases import all_tools

TOOLS = all_tools()
PASSED_ON = Quorum(1, "supervisor", 86_400, ladder=(Rung("admin", 60),))
ONE, TWO = Quorum(1, "supervisor", 86_400), Quorum(2, "supervisor", 86_400)
REFUND = frozenset({"orders.refund"})
READS = Row("A1", "reads", Then.ALLOW, 1, frozenset({Effect.READ}))
SMALL = Row(
    "C1",
    "small refunds",
    Then.APPROVE,
    2,
    tools=REFUND,
    currency="USD",
    amount_upto=100_000,
    quorum=ONE,
    standing=True,
)
CANCEL = Row(
    "D1",
    "cancel",
    Then.APPROVE,
    5,
    tools=frozenset({"orders.cancel"}),
    quorum=TWO,
)
LARGE = replace(
    SMALL, clause="C2", amount_above=100_000, amount_upto=500_000, quorum=TWO
)
BAN = Row(
    "C3",
    "no more",
    Then.BAN,
    3,
    frozenset({Effect.MONEY}),
    currency="USD",
    amount_above=500_000,
)
TOPIC = Row(
    "T1",
    "complaints",
    Then.PERSON,
    4,
    frozenset(Effect) - {Effect.IDENTITY},
    topics=frozenset({"complaint"}),
    quorum=TWO,
)
TABLE = Table(COMPANY, "appetite.toml", "dave", (READS, SMALL, LARGE, BAN, TOPIC))


def narrowed(*rows: Row) -> Table:
    return Table("retail-care", "use_cases/retail-care.toml", "olivia", rows)


@pytest.mark.parametrize(
    "row",
    [
        READS,
        SMALL,
        LARGE,
        replace(SMALL, quorum=TWO),
        replace(SMALL, standing=False),
        replace(SMALL, quorum=Quorum(1, "supervisor", 60)),
        replace(SMALL, amount_upto=500_000, quorum=TWO),
        replace(SMALL, channels=frozenset({"webchat"})),
        replace(SMALL, topics=frozenset({"complaint"}), quorum=TWO, standing=False),
        replace(TOPIC, topics=frozenset()),
        replace(BAN, amount_above=None),
    ],
)
def test_a_row_that_asks_for_as_much_or_more_is_accepted(row) -> None:
    check_narrows(TABLE, narrowed(row), TOOLS)


@pytest.mark.control("1.3")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (replace(SMALL, then=Then.ALLOW, quorum=None), "C1 says 1 of role supervisor"),
        (replace(SMALL, amount_upto=500_000), "C2 says 2 .* of 1,000.01 USD"),
        (replace(SMALL, amount_upto=None, quorum=TWO), "C3 says ban .* 5,000.01 USD"),
        (replace(SMALL, quorum=Quorum(1, "supervisor", 86_401)), "C1 says 1"),
        (replace(SMALL, quorum=Quorum(1, "owner", 86_400)), "C1 says 1"),
        (replace(SMALL, quorum=PASSED_ON), "C1 says 1"),
        (replace(LARGE, standing=True, quorum=ONE), "C2 says 2"),
        (replace(SMALL, currency="EUR"), "grants nothing for orders.refund"),
        (replace(CANCEL, standing=True), "grants nothing for orders.cancel"),
        (replace(READS, effects=frozenset({Effect.ANSWER})), "grants nothing"),
        (replace(SMALL, topics=frozenset({"complaint"})), "T1 says 2"),
    ],
)  # fmt: skip
def test_a_row_that_says_more_than_the_company_is_refused_with_line_and_reason(
    row, reason
) -> None:
    where = rf"use_cases/retail-care\.toml line {row.line}, row {row.clause}: this row"
    with pytest.raises(PolicyError, match=f"{where} would widen.*{reason}"):
        check_narrows(TABLE, narrowed(row), TOOLS)


def test_a_grant_that_is_for_some_customers_only_cannot_be_given_to_all() -> None:
    flags = frozenset({"vip"})
    vip = replace(READS, effects=frozenset({Effect.ANSWER}), customer_flags=flags)
    company = replace(TABLE, rows=(vip,))
    check_narrows(company, narrowed(vip), TOOLS)
    with pytest.raises(PolicyError, match="grants nothing"):
        check_narrows(
            company, narrowed(replace(vip, customer_flags=frozenset())), TOOLS
        )


def test_a_row_may_ask_the_customer_and_not_leave_out_one_whom_the_company_asks() -> (
    None
):
    def asking(level: int) -> Row:
        return replace(SMALL, quorum=replace(ONE, customer=level))

    company = replace(TABLE, rows=(asking(2),))
    for level in (2, 3):
        check_narrows(company, narrowed(asking(level)), TOOLS)
    for level in (0, 1):
        with pytest.raises(PolicyError, match="and the customer, known at level 2"):
            check_narrows(company, narrowed(asking(level)), TOOLS)


def test_two_rows_that_one_request_fits_ask_for_the_same_role() -> None:
    check_roles((TABLE,), TOOLS)
    other = replace(TOPIC, clause="T2", line=9, quorum=Quorum(1, "compliance", 60))
    with pytest.raises(PolicyError, match="line 9, row T2: it asks for compliance"):
        check_roles((TABLE, narrowed(other)), TOOLS)
    elsewhere = replace(other, effects=frozenset({Effect.IDENTITY}))
    others = [tool for tool in TOOLS if tool.effect is not Effect.IDENTITY]
    check_roles((TABLE, narrowed(elsewhere)), others)


def test_tables_tell_as_many_kinds_of_requests_apart_as_the_limit_and_no_more() -> None:
    kinds = len(cells_of([narrowed(READS)], TOOLS))
    assert {cell.channel for cell in cells_of([narrowed(READS)], TOOLS)} == {ELSEWHERE}
    # Without an amount each channel costs one cell per tool that is told apart, the
    # tool with an amount two: its own currency and others.
    many = [f"c{number}" for number in range(CELLS_MAX)]

    def cells(channels: int) -> int:
        row = replace(READS, channels=frozenset(many[:channels]))
        return len(cells_of([narrowed(row)], TOOLS))

    most = CELLS_MAX // kinds - 1
    assert cells(most) <= CELLS_MAX
    with pytest.raises(PolicyError, match=f"more than {CELLS_MAX}"):
        cells(most + kinds)

"""What is wrong with a table is refused with its line and the reason."""

from __future__ import annotations

import pytest

from broker.core.authorize import APPROVERS_MAX, EXPIRES_S_MAX
from broker.core.words.decision import Quorum, Rung
from broker.core.words.effect import Effect
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.registry.appetite.reading import (
    ROWS_MAX,
    TEXT_CHARS_MAX,
    WORD_CHARS_MAX,
    WORDS_MAX,
    read_table,
)
from broker.registry.appetite.words import Ceiling, Row, Table, Then
from broker.registry.policy.cedar_text import PolicyError

TOP = 'schema = 1\nowner = "dave"\ncurrency = "USD"\n'
PLAIN = {"clause": '"C1"', "text": '"x"', "effects": '["read"]', "then": '"allow"'}
ASKS = PLAIN | {"effects": '["money"]', "then": '"approve"', "role": '"supervisor"'}
TAKES = PLAIN | {"then": '"ban"'}


def row(**fields: str) -> str:
    lines = [f"{name} = {value}" for name, value in fields.items()]
    return "\n".join(["[[rows]]", *lines, ""])


def read(text: str, scope: str = "company") -> Table:
    return read_table(text, file="a.toml", scope=scope)


def only(**fields: str) -> Row:
    (found,) = read(TOP + row(**fields)).rows
    return found


def test_a_row_says_what_it_is_read_as() -> None:
    found = only(
        **ASKS,
        amount_above='"10.00"',
        amount_upto='"1000.50"',
        channels='["webchat"]',
        topics='["returns"]',
        customer_flags='["vip"]',
        findings='["tainted_argument"]',
        verification='"matched"',
        approvers="2",
        within='"90m"',
        or_standing="true",
    )
    assert found == Row(
        clause="C1",
        text="x",
        then=Then.APPROVE,
        line=4,
        effects=frozenset({Effect.MONEY}),
        currency="USD",
        amount_above=1_000,
        amount_upto=100_050,
        channels=frozenset({"webchat"}),
        topics=frozenset({"returns"}),
        customer_flags=frozenset({"vip"}),
        findings=frozenset({"tainted_argument"}),
        verification=2,
        quorum=Quorum(2, "supervisor", 5_400),
        standing=True,
    )


def test_a_row_may_say_when_people_are_reminded_and_who_is_asked_next() -> None:
    asks = ASKS | {
        "within": '"2d"',
        "remind": '"30m"',
        "escalate": '["compliance after 2h", "admin after 1d"]',
    }
    ladder = (Rung("compliance", 7_200), Rung("admin", 86_400))
    assert only(**asks).quorum == Quorum(1, "supervisor", 172_800, 1_800, ladder)


def test_a_row_may_want_the_customer_to_confirm_as_well() -> None:
    asks = ASKS | {"within": '"1m"', "customer_confirms": '"strong"'}
    assert only(**asks).quorum == Quorum(1, "supervisor", 60, customer=3)


def test_a_row_may_look_at_money_that_moved_or_at_actions_that_happened() -> None:
    money = only(**TAKES, total='"month"', total_above='"300.00"')
    assert money.ceiling == Ceiling("month", 30_000, counts=False)
    actions = only(**TAKES, total='"day"', total_above="20")
    assert actions.ceiling == Ceiling("day", 20, counts=True)


@pytest.mark.parametrize(
    ("fields", "line", "problem"),
    [
        (PLAIN | {"then": '"maybe"'}, 8, "then is one of"),
        (PLAIN | {"efects": '["read"]'}, 9, "efects is not known"),
        (PLAIN | {"approvers": "1"}, 9, "approvers is not known"),
        (PLAIN | {"verification_below": '"strong"'}, 9, "verification_below is not"),
        (PLAIN | {"effects": '["reed"]'}, 7, "'reed' is none of"),
        (PLAIN | {"tools": '["orders.get"]'}, 7, "either effects or tools"),
        (PLAIN | {"effects": "[]"}, 7, "1 to 32 different words"),
        (PLAIN | {"effects": '["read", "read"]'}, 7, "different"),
        (PLAIN | {"effects": '["money"]'}, 8, "no rule alone permits money"),
        (PLAIN | {"clause": '"C 1"'}, 5, "short name"),
        (PLAIN | {"text": '""'}, 6, "text is a text"),
        (PLAIN | {"text": '"a\\nb"'}, 6, "text is a text"),
        (PLAIN | {"amount_upto": "1000"}, 9, "in quotes"),
        (PLAIN | {"amount_upto": "1000.0"}, 9, "in quotes"),
        (PLAIN | {"amount_upto": '"1000"'}, 9, "in quotes"),
        (PLAIN | {"amount_upto": '"1,000.00"'}, 9, "in quotes"),
        (PLAIN | {"amount_upto": '"-1.00"'}, 9, "in quotes"),
        (PLAIN | {"amount_above": '"2.00"', "amount_upto": '"2.00"'}, 10, "not above"),
        (PLAIN | {"currency": '"usd"'}, 9, "ISO 4217"),
        (PLAIN | {"verification": '"none"'}, 9, "verification is one of"),
        (ASKS | {"role": '"boss"'}, 9, "role is one of"),
        (ASKS | {"approvers": "0"}, 10, "approvers is 1"),
        (ASKS | {"approvers": "true"}, 10, "approvers is 1"),
        (ASKS | {"approvers": f"{APPROVERS_MAX + 1}"}, 10, "approvers is 1"),
        (ASKS | {"within": '"soon"'}, 10, "within is a time"),
        (ASKS | {"within": f'"{EXPIRES_S_MAX // 86_400 + 1}d"'}, 10, "within is"),
        (ASKS | {"or_standing": '"yes"'}, 10, "true or false"),
        (ASKS | {"remind": '"24h"'}, 10, "shorter than within"),
        (ASKS | {"remind": "5"}, 10, "shorter than within"),
        (ASKS | {"escalate": '"admin"'}, 10, "list of steps"),
        (ASKS | {"escalate": '["admin after soon"]'}, 10, "list of steps"),
        (ASKS | {"escalate": '["boss after 2h"]'}, 10, "list of steps"),
        (ASKS | {"escalate": '["supervisor after 2h"]'}, 10, "another role"),
        (ASKS | {"customer_confirms": '"yes"'}, 10, "customer_confirms"),
        (ASKS | {"customer_confirms": '"none"'}, 10, "customer_confirms"),
        (ASKS | {"customer_confirms": "true"}, 10, "customer_confirms"),
        (ASKS | {"escalate": '["admin after 24h"]'}, 10, "before it expires"),
        (PLAIN | {"remind": '"1h"'}, 9, "remind is not known"),
        (TAKES | {"total": '"month"'}, 4, "total_above is an amount"),
        (TAKES | {"total": '"month"', "total_above": "1.5"}, 10, "total_above is"),
        (TAKES | {"total_above": "1"}, 4, "total is a text"),
    ],
)
def test_a_row_that_is_wrong_is_refused_with_its_line(fields, line, problem) -> None:
    with pytest.raises(PolicyError, match=rf"a\.toml line {line}.*{problem}"):
        read(TOP + row(**fields))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("schema = 2\n", "line 1: schema is 1"),
        ('schema = 1\nowner = ""\n', "line 2: owner"),
        ("schema = 1\n", "owner"),
        (TOP + "colour = 1\n", "line 4: colour is not known"),
        (TOP + 'otherwise = "ban"\n', "line 4: otherwise is not known"),
        (TOP + "rows = 1\n", "rows are written"),
        (TOP + "rows = [{}]\n", "line of its own"),
        (TOP + row(**PLAIN) * 2, "clause C1 is there twice"),
        ("schema = ", "a.toml: "),
    ],
)
def test_a_table_that_is_wrong_is_refused(text, problem) -> None:
    with pytest.raises(PolicyError, match=problem):
        read(text)


def test_an_amount_needs_a_currency() -> None:
    banded = row(**PLAIN, amount_upto='"1.00"')
    with pytest.raises(PolicyError, match="currency"):
        read('schema = 1\nowner = "dave"\n' + banded)


def test_a_use_case_says_what_happens_to_what_it_does_not_name() -> None:
    assert not read(TOP, "retail-care").closed
    assert read(TOP + 'otherwise = "ban"\n', "retail-care").closed
    with pytest.raises(PolicyError, match="cannot be the name"):
        read(TOP, "Retail Care")


def test_cells_and_tables_hold_as_much_as_their_limits_and_not_one_more() -> None:
    words = [f'"w{number}"' for number in range(WORDS_MAX + 1)]
    assert only(**PLAIN, topics=f"[{', '.join(words[:-1])}]")
    rows = [row(**(PLAIN | {"clause": f'"C{n}"'})) for n in range(ROWS_MAX + 1)]
    assert len(read(TOP + "".join(rows[:-1])).rows) == ROWS_MAX
    assert only(**(PLAIN | {"text": f'"{"x" * TEXT_CHARS_MAX}"'}))
    assert only(**PLAIN, topics=f'["{"x" * WORD_CHARS_MAX}"]')
    most = f'"{AMOUNT_MINOR_UNITS_MAX // 100}.{AMOUNT_MINOR_UNITS_MAX % 100}"'
    more = f'"{AMOUNT_MINOR_UNITS_MAX // 100}.{AMOUNT_MINOR_UNITS_MAX % 100 + 1}"'
    assert only(**PLAIN, amount_upto=most).amount_upto == AMOUNT_MINOR_UNITS_MAX
    for text in (
        row(**PLAIN, topics=f"[{', '.join(words)}]"),
        "".join(rows),
        row(**(PLAIN | {"text": f'"{"x" * (TEXT_CHARS_MAX + 1)}"'})),
        row(**PLAIN, topics=f'["{"x" * (WORD_CHARS_MAX + 1)}"]'),
        row(**PLAIN, amount_upto=more),
    ):
        with pytest.raises(PolicyError):
            read(TOP + text)

"""Random appetite tables, and what a table says without any Cedar."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from broker.core.words.decision import Decision, Deny, Escalate, Permit, Quorum
from broker.core.words.effect import Effect, Tier, tier_of
from broker.registry.appetite.cedar import compile_tables
from broker.registry.appetite.words import COMPANY, GRANTING, Row, Table, Then
from broker.registry.policy.books import rule_book
from tests.support.cases import all_tools, question

if TYPE_CHECKING:
    from broker.core.authorize import Question, RuleBook

USE_CASE = "retail-care"
# Few, so that rows and questions meet: one of each tier, and two that need a person.
NAMES = ("orders.refund", "orders.get", "answers.send", "access.reset")
TOOLS = {tool.name: tool for tool in all_tools() if tool.name in NAMES}
EFFECTS = sorted({tool.effect for tool in TOOLS.values()})
EDGES = (1_000, 2_000)
CHANNELS, TOPICS, FLAGS = ("chat", "mail"), ("complaint", "pricing"), ("vulnerable",)
HOLD = {"approvers": 1, "role": "supervisor", "expires_s": 3_600}


def some(*words: str) -> st.SearchStrategy[frozenset[str]]:
    """Return a set of some words, most often the empty one: it does not matter."""
    nothing = st.just(frozenset[str]())
    several = st.frozensets(st.sampled_from(words), min_size=1)
    return st.one_of(nothing, nothing, nothing, several)


@st.composite
def rows(draw: Any, *, number: int = 1) -> Row:
    """Draw a row that reading would have let through."""
    then = draw(st.sampled_from(Then))
    tools = draw(some(*TOOLS))
    effects = draw(st.frozensets(st.sampled_from(EFFECTS), min_size=1))
    if then is Then.ALLOW:
        tools = frozenset(n for n in tools if TOOLS[n].tier < Tier.CONSEQUENTIAL)
        effects = frozenset(e for e in effects if tier_of(e) < Tier.CONSEQUENTIAL)
        effects = effects or frozenset({Effect.READ})
    above, upto = draw(
        st.sampled_from([(None, None), (None, EDGES[0]), EDGES, (EDGES[1], None)])
    )
    banded = above is not None or upto is not None
    asks = then in {Then.APPROVE, Then.PERSON}
    granting = then in GRANTING
    quorum = Quorum(
        approvers_min=draw(st.integers(1, 3)),
        role="supervisor",
        expires_s=draw(st.sampled_from([60, 3_600])),
    )
    return Row(
        clause=f"C{number}",
        text="x",
        then=then,
        line=number,
        effects=frozenset() if tools else effects,
        tools=tools,
        currency="USD" if banded else "",
        amount_above=above,
        amount_upto=upto,
        channels=draw(some(*CHANNELS)),
        topics=draw(some(*TOPICS)),
        customer_flags=draw(some(*FLAGS)),
        verification=draw(st.sampled_from([0, 0, 2])),
        verification_below=0 if granting else draw(st.sampled_from([0, 0, 2])),
        quorum=quorum if asks else None,
        standing=asks and draw(st.booleans()),
    )


@st.composite
def tables(draw: Any, scope: str = COMPANY) -> Table:
    """Draw a table of up to six rows."""
    many = draw(st.integers(0, 6))
    return Table(
        scope=scope,
        file=f"{scope}.toml",
        owner="dave",
        rows=tuple(draw(rows(number=number)) for number in range(1, many + 1)),
        closed=scope != COMPANY and draw(st.booleans()),
    )


def pool(count: int) -> list[Question]:
    """Return questions about these tools, at the edges that rows have; always the same.

    Drawn once: Hypothesis would take longer to draw them than Cedar to answer.
    """
    pick = Random(7)
    return [_question(pick) for _ in range(count)]


def _question(pick: Random) -> Question:
    tool = TOOLS[pick.choice([NAMES[0], *NAMES])]
    money = bool(tool.binding.amount)
    level = pick.choice([0, 1, 2, 2, 3])
    near = [edge + step for edge in EDGES for step in (0, 1)]
    return question(
        tool=tool.name,
        effect=tool.effect.value,
        tier=int(tool.tier),
        amount_minor_units=pick.choice(near) if money else 0,
        currency=pick.choice(["USD", "USD", "USD", "EUR"]) if money else "",
        channel=pick.choice([*CHANNELS, "telephone"]),
        topics=pick.choice([(), (), *((topic,) for topic in TOPICS), TOPICS]),
        customer_flags=pick.choice([(), FLAGS]),
        verification=level,
        customer_bound=level > 0,
        standing=pick.choice([True, False]),
        totals={},
    )


def book_of(*tables: Table) -> RuleBook:
    """Return what the broker decides by, made of these tables alone."""
    body = {"version": 1, "cedar": compile_tables(tables), "hold": HOLD, "budgets": []}
    return rule_book(body, all_tools())


def fits(row: Row, asked: Question) -> bool:
    """Return whether a row speaks of a request, as docs/policy.md puts it."""
    amount = asked.amount_minor_units
    return (
        (asked.tool in row.tools or asked.effect in row.effects)
        and (not row.currency or asked.currency == row.currency)
        and (row.amount_above is None or amount > row.amount_above)
        and (row.amount_upto is None or amount <= row.amount_upto)
        and (not row.channels or asked.channel in row.channels)
        and (not row.topics or bool(row.topics & {*asked.topics}))
        and (
            not row.customer_flags or bool(row.customer_flags & {*asked.customer_flags})
        )
        and asked.verification >= row.verification
        and (not row.verification_below or asked.verification < row.verification_below)
    )


def says(table: Table, asked: Question) -> tuple[str, int, int]:
    """Return what the company's table says: (word, approvers, seconds)."""
    fitting = [row for row in table.rows if fits(row, asked)]
    currencies = {row.currency for row in table.rows} - {""}
    foreign = currencies and asked.currency not in {"", *currencies}
    granted = any(row.then in GRANTING for row in fitting)
    if foreign or not granted or any(row.then is Then.BAN for row in fitting):
        return ("deny", 0, 0)
    asking = [(row, row.quorum) for row in fitting if row.quorum is not None]
    if all(row.standing and asked.standing for row, _ in asking):
        return ("permit", 0, 0)
    return (
        "escalate",
        max(quorum.approvers_min for _, quorum in asking),
        min(quorum.expires_s for _, quorum in asking),
    )


def said(decision: Decision) -> tuple[str, int, int]:
    """Return a decision in the same form."""
    match decision:
        case Permit():
            return ("permit", 0, 0)
        case Escalate(quorum=quorum):
            return ("escalate", quorum.approvers_min, quorum.expires_s)
        case Deny():
            return ("deny", 0, 0)


def as_strict(one: Decision, than: Decision) -> bool:
    """Return whether one decision asks for as much as another, or more."""
    mine, theirs = said(one), said(than)
    rank = {"permit": 0, "escalate": 1, "deny": 2}
    if mine[0] == theirs[0] == "escalate":
        return mine[1] >= theirs[1] and mine[2] <= theirs[2]
    return rank[mine[0]] >= rank[theirs[0]]

"""Questions and expected answers of a policy folder: tests.toml, and what came out.

Source: docs/policy.md.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.authorize import AgentFacts, Question, RuleBook
from broker.core.decisions.explain import answer
from broker.core.words.decision import Decision, Deny, Escalate, Permit, Reason
from broker.core.words.effect import Tier
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.core.words.subject import VerificationLevel
from broker.registry.appetite.reading import amount_of
from broker.registry.policy.cedar_text import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.words.tool import Tool

TESTS_MAX: Final = 500
ALLOW, APPROVE, DENY = "allow", "approve", "deny"

_LEVELS = {level.name.lower(): level for level in VerificationLevel}
_GIVEN = frozenset(
    {
        "tool",
        "amount",
        "currency",
        "channel",
        "topics",
        "customer_flags",
        "locale",
        "verification",
        "standing",
        "proof",
        "findings",
        "release",
        "hour",
        "weekday",
        "use_case",
        "totals",
    }
)
_TEST = frozenset(
    {
        "name",
        "given",
        "expect",
        "approvers",
        "role",
        "customer_confirms",
        "clauses",
    }
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One test of a policy: a question, and what must come out.

    ``approvers``, ``role``, ``clauses`` and ``customer`` (the level at which the
    customer confirms, 0 for not at all) are compared only if they are given.
    """

    name: str
    question: Question
    expect: str
    approvers: int | None
    role: str
    clauses: frozenset[str]
    customer: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one test; ``problem`` is empty if it was what was expected."""

    name: str
    word: str
    reasons: tuple[Reason, ...]
    problem: str


def read_tests(
    text: str, *, file: str, tools: Sequence[Tool], totals: Mapping[str, str]
) -> tuple[Expectation, ...]:
    """Return the tests of a folder.

    Args:
        text: The file's TOML.
        file: Its name, for errors.
        tools: The tools that the policy speaks of.
        totals: The unit of each budget or total of the policy, by its name.

    Raises:
        PolicyError: a test is malformed; the message names it.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: {error}"
        raise PolicyError(msg) from error
    tests = raw.get("tests", [])
    if raw.keys() - {"given", "tests"} or not isinstance(tests, list):
        msg = f"{file}: it holds [given] and [[tests]], nothing else"
        raise PolicyError(msg)
    if len(tests) > TESTS_MAX:
        msg = f"{file}: more than {TESTS_MAX} tests"
        raise PolicyError(msg)
    found = []
    for number, test in enumerate(tests, 1):
        try:
            found.append(_test(test, raw.get("given", {}), tools, totals))
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            msg = f"{file}, test {number}: {what}"
            raise PolicyError(msg) from error
    return tuple(found)


def run(tests: Sequence[Expectation], book: RuleBook) -> tuple[Result, ...]:
    """Return what came out of each test."""
    return tuple(_run(test, book) for test in tests)


def question_of(
    given: Mapping[str, Any], *, tools: Sequence[Tool], totals: Mapping[str, str]
) -> Question:
    """Return the question that a table of plain words asks.

    Raises:
        ValueError: a word is not known, or has the wrong form.
        KeyError: the tool is missing.
    """
    unknown = sorted(given.keys() - _GIVEN)
    if unknown:
        msg = f"{unknown[0]} is not known here"
        raise ValueError(msg)
    tool = next((tool for tool in tools if tool.name == given["tool"]), None)
    if tool is None:
        msg = f"there is no tool {given['tool']!r}"
        raise ValueError(msg)
    amount = _amount(given, "amount")
    level = _LEVELS.get(given.get("verification", "none"))
    if level is None:
        msg = f"verification is one of {', '.join(_LEVELS)}"
        raise ValueError(msg)
    agent = AgentFacts(
        agent_id="policy-test",
        owner="",
        use_case=_text(given, "use_case"),
        environment="",
        tier_max=max(Tier),
        tools=frozenset({tool.name}),
    )
    return Question(
        agent=agent,
        tool=tool.name,
        connector=tool.connector,
        effect=tool.effect.value,
        tier=int(tool.tier),
        amount_minor_units=amount,
        currency=_currency(given) if "amount" in given else "",
        channel=_text(given, "channel"),
        topics=_words(given, "topics"),
        customer_flags=_words(given, "customer_flags"),
        locale=_text(given, "locale"),
        verification=int(level),
        customer_bound=level > VerificationLevel.NONE,
        proof=_flag(given, "proof", default=True),
        standing=_flag(given, "standing", default=False),
        findings=_words(given, "findings"),
        release=_text(given, "release"),
        hour=_number(given, "hour", low=0, high=23, default=12),
        weekday=_number(given, "weekday", low=1, high=7, default=1),
        totals=_totals(given, totals),
    )


def word_of(decision: Decision) -> str:
    """Return the word that tests and tables use for a decision."""
    match decision:
        case Permit():
            return ALLOW
        case Escalate():
            return APPROVE
        case Deny():
            return DENY


def _run(test: Expectation, book: RuleBook) -> Result:
    decision = answer(test.question, book)
    word, problems = word_of(decision), []
    if word != test.expect:
        problems.append(f"expected {test.expect}, got {word}")
    if isinstance(decision, Escalate):
        quorum = decision.quorum
        if test.approvers not in {None, quorum.approvers_min}:
            problems.append(
                f"{test.approvers} approvers expected, {quorum.approvers_min} asked"
            )
        if test.role not in {"", quorum.role}:
            problems.append(f"{test.role} expected, {quorum.role} asked")
        if test.customer not in {None, quorum.customer}:
            wanted, got = _level(test.customer), _level(quorum.customer)
            problems.append(f"customer_confirms {wanted} expected, {got} asked")
    clauses = {reason.clause for reason in decision.reasons} - {""}
    if test.clauses and clauses != test.clauses:
        wanted, got = ", ".join(sorted(test.clauses)), ", ".join(sorted(clauses))
        problems.append(f"clauses {wanted} expected, {got or 'none'} decided")
    return Result(test.name, word, decision.reasons, "; ".join(problems))


def _test(
    raw: Mapping[str, Any],
    common: Mapping[str, Any],
    tools: Sequence[Tool],
    totals: Mapping[str, str],
) -> Expectation:
    unknown = sorted(raw.keys() - _TEST)
    if unknown:
        msg = f"{unknown[0]} is not known here"
        raise ValueError(msg)
    if raw["expect"] not in {ALLOW, APPROVE, DENY}:
        msg = f"expect is one of {ALLOW}, {APPROVE}, {DENY}"
        raise ValueError(msg)
    approvers = raw.get("approvers")
    asks = approvers is not None or {"role", "customer_confirms"} & raw.keys()
    if asks and raw["expect"] != APPROVE:
        msg = f"approvers, role and customer_confirms go with expect = {APPROVE!r}"
        raise ValueError(msg)
    customer = None
    if "customer_confirms" in raw:
        customer = _LEVELS.get(_text(raw, "customer_confirms"))
        if customer is None:
            msg = f"customer_confirms is one of {', '.join(_LEVELS)}"
            raise ValueError(msg)
    return Expectation(
        name=_text(raw, "name"),
        question=question_of({**common, **raw["given"]}, tools=tools, totals=totals),
        expect=raw["expect"],
        approvers=approvers,
        role=_text(raw, "role"),
        clauses=frozenset(_words(raw, "clauses")),
        customer=customer,
    )


def _level(level: int | None) -> str:
    return VerificationLevel(level or 0).name.lower()


def _amount(given: Mapping[str, Any], name: str) -> int:
    if name not in given:
        return 0
    units = amount_of(given[name])
    if units is None:
        msg = f'{name} is an amount in quotes, like "25.00"'
        raise ValueError(msg)
    return units


def _currency(given: Mapping[str, Any]) -> str:
    currency = _text(given, "currency")
    if not is_currency(currency):
        msg = "an amount needs its currency"
        raise ValueError(msg)
    return currency


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        msg = f"{name} is a text"
        raise TypeError(msg)
    return value


def _words(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        msg = f"{name} is a list of words"
        raise TypeError(msg)
    return tuple(value)


def _flag(given: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        msg = f"{name} is true or false"
        raise TypeError(msg)
    return value


def _number(
    given: Mapping[str, Any], name: str, *, low: int, high: int, default: int
) -> int:
    value = given.get(name, default)
    if type(value) is not int or not low <= value <= high:
        msg = f"{name} is {low} to {high}"
        raise ValueError(msg)
    return value


def _totals(given: Mapping[str, Any], totals: Mapping[str, str]) -> dict[str, int]:
    found = dict.fromkeys(totals, 0)
    raw = given.get("totals", {})
    for name, value in raw.items():
        units = value if type(value) is int else amount_of(value)
        if name not in totals or units is None:
            msg = f"totals: {name} is no budget or total, or its value is no amount"
            raise ValueError(msg)
        if not 0 <= units <= AMOUNT_MINOR_UNITS_MAX:
            msg = f"totals: {name} is out of range"
            raise ValueError(msg)
        found[name] = units
    return found

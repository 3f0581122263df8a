"""The sealed form of what a decision was made from, so that it can be made again.

A replay puts the recorded question to another policy. Whatever a policy may look at is
therefore sealed with the action: the question itself, what the guards said, and what
each budget had taken. ``to_json`` and ``from_json`` are inverse.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from broker.core.authorize import AgentFacts, Question
from broker.core.words.decision import VerdictWord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.words.budget import Line

T = TypeVar("T")


class Taken(NamedTuple):
    """What one budget rule had taken (posted and held) when an action asked for more.

    ``amount``, ``limit`` and ``taken`` are minor units of ``unit``, or a count.
    """

    rule_id: str
    unit: str
    amount: int
    limit: int
    taken: int


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision was made from.

    ``question`` is what policy was asked before any guard spoke; ``findings`` are the
    codes that it was asked again with, if the verdict is hold. ``policy_version`` is
    the version that answered.
    """

    question: Question
    verdict: VerdictWord
    findings: tuple[str, ...]
    taken: tuple[Taken, ...]
    policy_version: int


def taken_of(lines: Iterable[Line]) -> tuple[Taken, ...]:
    """Return what is recorded of budget lines."""
    return tuple(
        Taken(line.rule_id, line.unit, line.amount, line.limit, line.posted + line.held)
        for line in lines
    )


def to_json(decided: Decided) -> dict[str, Any]:
    """Return it as JSON to be sealed."""
    question = _plain(decided.question)
    question["agent"] = _plain(decided.question.agent)
    question["chain"] = [_plain(agent) for agent in decided.question.chain]
    return {
        "question": question,
        "verdict": decided.verdict.value,
        "findings": list(decided.findings),
        "taken": [list(one) for one in decided.taken],
        "policy_version": decided.policy_version,
    }


def from_json(sealed: Mapping[str, Any]) -> Decided:
    """Read it back.

    Raises:
        ValueError: it was recorded when questions said less, or it is no such record.
    """
    try:
        raw = dict(sealed["question"])
        agent = _read(AgentFacts, raw.pop("agent"))
        chain = tuple(_read(AgentFacts, one) for one in raw.pop("chain", ()))
        return Decided(
            question=replace(_read(Question, raw | {"agent": agent}), chain=chain),
            verdict=VerdictWord(sealed["verdict"]),
            findings=tuple(sealed["findings"]),
            taken=tuple(Taken(*one) for one in sealed["taken"]),
            policy_version=sealed["policy_version"],
        )
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"this record does not hold a whole question: {error}"
        raise ValueError(msg) from error


def _plain(value: Any) -> dict[str, Any]:  # noqa: ANN401  (one of the two above)
    return {one.name: _json(getattr(value, one.name)) for one in fields(value)}


def _json(value: Any) -> Any:  # noqa: ANN401  (a field)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    if isinstance(value, dict):
        return dict(value)
    return value


def _read(kind: type[T], raw: Mapping[str, Any]) -> T:
    """Build a value of this class; what was not recorded keeps its default.

    What is recorded and no longer asked is left out: a policy cannot look at it.
    """
    given: dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]  # one of the two classes above
        if one.name in raw:
            given[one.name] = _typed(raw[one.name], str(one.type))
        elif one.default is MISSING and one.default_factory is MISSING:
            raise KeyError(one.name)
    return kind(**given)


def _typed(value: Any, kind: str) -> Any:  # noqa: ANN401  (a field)
    if kind.startswith("frozenset"):
        return frozenset(value)
    if kind.startswith("tuple"):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    return value

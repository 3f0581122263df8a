"""What an appetite table says: rows of effect, amount, channel, circumstances.

Every row that fits a request speaks; the strictest word wins, and where no row of the
company's table grants anything the answer is no. ``allow`` and ``approve`` grant,
``person`` and ``ban`` only take away; in a use case's table every row only takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.core.words.effect import Effect, Tier, tier_of

if TYPE_CHECKING:
    from broker.core.words.decision import Quorum

COMPANY = "company"
"""The scope of the company's own rows; no use case can have this name."""


class Then(StrEnum):
    """What a row says about the requests that it fits.

    ``PERSON`` grants nothing: where other rows grant, a person must sign as well.
    """

    ALLOW = "allow"
    APPROVE = "approve"
    PERSON = "person"
    BAN = "ban"


GRANTING = frozenset({Then.ALLOW, Then.APPROVE})


@dataclass(frozen=True, slots=True)
class Ceiling:
    """More than this in a running total, this very action included.

    ``total`` names a budget or total of limits.toml; ``above`` are minor units, or
    actions if ``counts``.
    """

    total: str
    above: int
    counts: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; an empty set and None mean that it does not matter.

    Exactly one of ``effects`` and ``tools`` is not empty. Amounts are minor units of
    ``currency``, above the one (exclusive) up to the other (inclusive). Of ``topics``,
    ``customer_flags`` and ``findings`` one that is there is enough. ``quorum`` is there
    for approve and person; ``standing`` says that a standing approval may take a
    person's place.
    """

    clause: str
    text: str
    then: Then
    line: int
    effects: frozenset[Effect] = frozenset()
    tools: frozenset[str] = frozenset()
    currency: str = ""
    amount_above: int | None = None
    amount_upto: int | None = None
    channels: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    customer_flags: frozenset[str] = frozenset()
    findings: frozenset[str] = frozenset()
    verification: int = 0
    verification_below: int = 0
    ceiling: Ceiling | None = None
    quorum: Quorum | None = None
    standing: bool = False

    @property
    def consequential(self) -> frozenset[Effect]:
        """Return those of its effects that no rule alone may permit."""
        return frozenset(
            effect for effect in self.effects if tier_of(effect) is Tier.CONSEQUENTIAL
        )


@dataclass(frozen=True, slots=True)
class Table:
    """The company's appetite, or what one use case narrows it to.

    ``scope`` is COMPANY or the use case; ``file`` where it was written; ``owner`` who
    answers for it. ``closed`` marks a use case in which nothing happens but what its
    rows name.
    """

    scope: str
    file: str
    owner: str
    rows: tuple[Row, ...]
    closed: bool = False

    @property
    def company(self) -> bool:
        """Return whether this is the company's own table."""
        return self.scope == COMPANY

"""What stands in for parts of a replica in tests of the flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from broker.core.words.budget import CountedBy, RateAnswer
from broker.effects.votes import Votes
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.budget import RateKey
    from broker.core.words.effect import Tier
    from broker.core.words.identity import OneUse
    from broker.effects.database import Database
    from broker.effects.registry import Registry
    from broker.effects.scribe import Scribe
    from broker.effects.vault import PayloadVault


@dataclass
class JumpedClock:
    """A clock that is some hours off."""

    hours: float

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=self.hours)


@dataclass
class OpenRates:
    """Rates that let everything through, unless told otherwise."""

    allowed: bool = True

    async def check(self, keys: Sequence[RateKey], *, tier: Tier) -> RateAnswer:
        return RateAnswer(allowed=self.allowed, counted_by=CountedBy.PROCESS)


@dataclass
class MemoryReplay:
    """A memory of single uses."""

    seen: set[bytes] = field(default_factory=set)

    async def first_ever(self, use: OneUse) -> bool:
        new = use.name not in self.seen
        self.seen.add(use.name)
        return new


class SignerIsThere:
    """A checkpoint keeper whose signer answers, until told otherwise."""

    error: Exception | None = None

    def require_current(self) -> None:
        if self.error is not None:
            raise self.error


def votes_of(
    database: Database, vault: PayloadVault, registry: Registry, scribe: Scribe
) -> Votes:
    """Return the desk, where the console and links in mails may vote."""
    own = [key_of("console").public()]
    return Votes(
        database,
        vault=vault,
        people=registry,
        entries=scribe,
        console=own,
        links=own,
    )

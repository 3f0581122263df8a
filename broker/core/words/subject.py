"""Who asks: subjects, what a token says about them, and the interaction they are in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum


class SubjectKind(StrEnum):
    """What kind of party a token was issued to."""

    AGENT = "agent"
    PERSON = "person"
    CHANNEL = "channel"
    SERVICE = "service"


class VerificationLevel(IntEnum):
    """How well the customer of an interaction is known."""

    NONE = 0
    CLAIMED = 1
    MATCHED = 2
    STRONG = 3


@dataclass(frozen=True, slots=True)
class Epochs:
    """Revocation counters; a token is void once one of them has moved on.

    ``scopes`` maps a scope ("global", "agent:<id>", "instance:<id>", "grant:<id>") to
    the value at issue; the current value must not be larger.
    """

    scopes: tuple[tuple[str, int], ...]

    def current_under(self, now: dict[str, int]) -> bool:
        """Return whether no scope has moved on; an unknown scope counts as 0."""
        return all(now.get(scope, 0) <= seen for scope, seen in self.scopes)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its holder ask for: narrowing only, never more than the row.

    ``tier_max`` is the highest tier, ``count_max`` how many actions may be admitted
    under it, ``customer_ref`` the one customer it is about; None and empty leave an
    axis open.
    """

    tools: frozenset[str] = frozenset()
    amount_max_minor_units: int | None = None
    currency: str = ""
    interaction_id: str = ""
    tier_max: int | None = None
    count_max: int | None = None
    customer_ref: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: what the verified token and proof say.

    ``proof_of_possession`` is true only if a DPoP proof by the key in ``cnf`` was
    verified for this very call (RFC 9449). ``principal`` and ``actors`` are empty for
    a caller that acts on its own authority (`broker.core.identity.chain`); ``counts``
    are the (name, most) of every count that an action under this token is charged to.
    """

    kind: SubjectKind
    subject_id: str
    tenant: str
    environment: str
    token_id: str
    grant_id: str
    instance_id: str
    kid: str
    proof_of_possession: bool
    expires_at: datetime
    epochs: Epochs
    grant: Grant
    principal: str = ""
    actors: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()


INTERACTION_SILENT_S_MAX = 3 * 86_400
"""How long after it was opened, or anything was said in it, an interaction ends.

Who asked people on a Friday can tell the customer on Monday what came of it.
"""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One conversation with one customer, opened by a channel, never by an agent.

    It ends when its channel says so, or when nothing was said for too long; nothing
    opens it again. ``heard_at`` is when the newest turn was said, if there is one.

    ``customer_id`` is the upstream's own id of the customer, empty while unbound;
    ``customer_ref`` is the opaque reference that entries and tokens carry.
    ``customer_flags`` is what the channel marks the customer as (vulnerable, fraud
    suspected ...): personal data, so it stands in no entry.
    """

    interaction_id: str
    tenant: str
    environment: str
    use_case: str
    agent_id: str
    channel_id: str
    channel: str
    customer_id: str
    customer_ref: str
    verification: VerificationLevel
    topics: tuple[str, ...]
    locale: str
    purpose: str
    consent_version: str
    release: str
    ai_disclosed_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None = None
    customer_flags: tuple[str, ...] = ()
    heard_at: datetime | None = None

    def silent(self, now: datetime) -> bool:
        """Return whether nothing was said for so long that it has ended by itself."""
        since = max(self.opened_at, self.heard_at or self.opened_at)
        return now >= since + timedelta(seconds=INTERACTION_SILENT_S_MAX)

    def ended(self, now: datetime) -> bool:
        """Return whether no agent may begin anything in it any more."""
        closed = self.closed_at is not None and self.closed_at <= now
        return closed or self.silent(now)

    @property
    def bound(self) -> bool:
        """Return whether a customer is bound; once bound, it stays that customer."""
        return bool(self.customer_id)

"""Approvals: who signed in advance, who is asked now, and what each person said."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.decision import Quorum
    from broker.core.words.money import Money

VOTE_TYP = "counterfoil-vote+jwt"
CONSOLE_VOTE_TYP = "counterfoil-console-vote+jwt"
LINK_VOTE_TYP = "counterfoil-link-vote+jwt"
CONFIRMATION_TYP = "counterfoil-confirmation+jwt"
RESOLUTION_TYP = "counterfoil-resolution+jwt"
VOTE_REASON_LENGTH_MAX = 1_000

APPROVALS_PER_HOUR_MAX = 600
"""Most yeses of one person within an hour; a policy lowers it."""

CONSOLE_STRENGTHS = frozenset({"link"})
"""How a person can be signed in at the console: by a link made with their key."""

LINK_STRENGTH = "mail"
"""How a person is known who follows a link in a mail: enough to say no, never yes."""


CUSTOMER = "customer"
"""Whose vote a confirmation is: no person has this id."""

CHANNEL_STRENGTH = "channel"
"""How a customer is known who confirms: as well as their channel says."""


class ApprovalState(StrEnum):
    """Where an approval request is; all but the first are ends."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    STALE = "stale"


MOVES: Mapping[ApprovalState, Mapping[ApprovalState, str]] = {
    ApprovalState.PENDING: {
        ApprovalState.APPROVED: "enough people signed",
        ApprovalState.REJECTED: "one person said no",
        ApprovalState.EXPIRED: "nobody signed in time",
        ApprovalState.WITHDRAWN: "the agent withdrew it",
        ApprovalState.STALE: "a policy asks otherwise, or it can go on no more",
    },
    # What was approved and not yet executed is asked again if a policy asks for more.
    ApprovalState.APPROVED: {ApprovalState.STALE: "a new policy asks otherwise"},
}
"""Every move of an approval, with its cause; approvals.sql holds the same table."""


def may_move(old: ApprovalState, new: ApprovalState) -> bool:
    """Return whether an approval may go from one state to another."""
    return new in MOVES.get(old, {})


class VoteWord(StrEnum):
    """What a person said."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class StandingApproval:
    """A signature given in advance, within constraints, caps and an expiry.

    ``constraints`` maps a JSON pointer into the arguments to ``{"max": int}`` or
    ``{"in": [values]}``; every one must hold. ``signed_by`` are two different people.
    """

    approval_id: str
    tool: str
    agents: frozenset[str]
    constraints: Mapping[str, Mapping[str, Any]]
    per_action_minor_units: int
    total_minor_units: int
    currency: str
    expires_at: datetime
    signed_by: tuple[str, ...]
    active: bool


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who may sign: roles, and how much at once in which currency.

    ``suspended`` takes the yes away, and leaves the no.
    """

    person_id: str
    roles: frozenset[str]
    limits: Mapping[str, int]
    active: bool
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One frozen action, put before people.

    ``confirmer`` is the customer who confirms as well, None if that is not asked.
    ``digest`` covers the action and the decision (see ``approve.action_digest``);
    ``barred`` are the people who may not sign: the agent's owner and whoever asked.
    """

    approval_id: str
    action_id: str
    digest: str
    quorum: Quorum
    amount: Money | None
    barred: frozenset[str]
    state: ApprovalState
    created_at: datetime
    expires_at: datetime
    confirmer: Confirmer | None = None


@dataclass(frozen=True, slots=True)
class Confirmer:
    """Who confirms, where, and how well they are known; of an approval, at the least.

    ``channel_id`` is the channel that opened the interaction: its word alone counts.
    """

    interaction_id: str
    channel_id: str
    customer_id: str
    level: int


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person said about one digest, parsed from a verified signature.

    ``shown`` is the digest of the card that the person saw, ``strength`` how they were
    signed in, ``kid`` the key that signed, ``at`` when, in whole seconds. ``session``
    is the console session in which the broker signed on this person's behalf, empty if
    the person's own key did. ``confirms`` is set in a customer's confirmation alone,
    which their channel signed.
    """

    vote_id: str
    approval_id: str
    person_id: str
    word: VoteWord
    digest: str
    shown: str
    strength: str
    reason: str
    at: datetime
    kid: str = ""
    session: str = ""
    confirms: Confirmer | None = None

    @property
    def typ(self) -> str:
        """Return the ``typ`` that this vote is signed as."""
        if self.confirms is not None:
            return CONFIRMATION_TYP
        if self.strength == LINK_STRENGTH:
            return LINK_VOTE_TYP
        return CONSOLE_VOTE_TYP if self.session else VOTE_TYP


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes together mean; ``customer``: whether the customer confirmed."""

    state: ApprovalState
    counted: tuple[str, ...] = ()
    rejected_by: str = ""
    reason: str = field(default="")
    customer: bool = False

"""Values that pass between the flow and its ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from broker.core.words.approval import APPROVALS_PER_HOUR_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.authorize import AgentFacts, RuleBook
    from broker.core.execute import RunError
    from broker.core.words.action import ActionRecord, ActionState
    from broker.core.words.approval import (
        ApprovalRequest,
        ApprovalState,
        StandingApproval,
        Vote,
    )
    from broker.core.words.budget import (
        BudgetRule,
        Line,
        RateRule,
    )
    from broker.core.words.entry import AuditEntry, PayloadRef
    from broker.core.words.labels import Integrity
    from broker.core.words.money import Money
    from broker.core.words.subject import Interaction
    from broker.core.words.warrant import Receipt
    from broker.watch.replay import Recorded, Tally


@dataclass(frozen=True, slots=True)
class Policy:
    """A published policy: the rule book and what limits go with it.

    ``author`` is the person who wrote it; ``approvals_per_hour`` how often one person
    may say yes in an hour.
    """

    book: RuleBook
    rates: tuple[RateRule, ...]
    budgets: tuple[BudgetRule, ...]
    author: str = ""
    approvals_per_hour: int = APPROVALS_PER_HOUR_MAX


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """What the signed rows say now about one agent, read in one round trip.

    ``agent`` is None if there is no active agent whose row verifies; ``stopped`` says
    that the kill switch is on. ``chain`` are the other agents of its chain, ``broken``
    says why that does not stand, empty if it does.
    """

    agent: AgentFacts | None
    epochs: Mapping[str, int]
    policy: Policy
    standing: tuple[StandingApproval, ...]
    stopped: bool = False
    chain: tuple[AgentFacts, ...] = ()
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a value was seen in this interaction: a released field or a turn."""

    integrity: Integrity
    source: str
    kind: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A payload that was encrypted for a subject, ready to be stored."""

    ref: PayloadRef
    data: bytes


@dataclass(frozen=True, slots=True)
class PayloadDraft:
    """Whose payload it is, for what, and how long it is kept."""

    payload_id: str
    subject: str
    purpose: str
    retention: str
    data_class: str


@dataclass(frozen=True, slots=True)
class NewAction:
    """An action to be stored together with everything that its decision causes.

    ``lines`` are reserved in the same transaction; ``claimed_by`` is set when this
    replica executes it at once. ``dedupe`` is empty for reads and for denials.
    """

    record: ActionRecord
    dedupe: str
    fingerprint: str
    payload: Sealed
    lines: tuple[Line, ...]
    approval: ApprovalRequest | None
    entries: tuple[AuditEntry, ...]
    claimed_by: str = ""


class StoredWord(StrEnum):
    """What became of a new action.

    ``DUPLICATE``: the same call was stored before. ``CONFLICT``: the same key, another
    call. ``OVER``: a budget has no room. ``STALE``: totals moved since they were read.
    """

    OK = "ok"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OVER = "over"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a new action.

    ``action_id`` names it, or the earlier one; ``over`` are the rules without room;
    ``claim`` is there when the action was stored as claimed by this replica.
    """

    word: StoredWord
    action_id: str = ""
    over: tuple[str, ...] = ()
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Redecision:
    """A waiting action that another policy was asked about.

    ``before`` is what was looked at. With ``approval`` and ``payload`` people are asked
    anew; without, the question that stands is carried.
    """

    before: ActionRecord
    policy_version: int
    lines: tuple[Line, ...]
    entry: AuditEntry
    approval: ApprovalRequest | None = None
    payload: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Recorded actions, oldest first; ``last`` is the id where the next page begins.

    ``left_out`` counts records that cannot be read, by why; ``full`` is whether there
    may be more.
    """

    records: tuple[Recorded, ...]
    left_out: Mapping[str, int]
    last: str
    full: bool


@dataclass(frozen=True, slots=True)
class Shadowed:
    """The policy that runs beside the live one: its row's revision, and since when."""

    policy: Policy
    revision: int
    since: datetime


@dataclass(frozen=True, slots=True)
class ShadowCount:
    """What a shadow came to, up to the action ``seen``."""

    seen: str
    at: datetime
    tally: Tally


class RedecidedWord(StrEnum):
    """What became of it. ``GONE``: the action is no longer as it was looked at."""

    OK = "ok"
    OVER = "over"
    STALE = "stale"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Redecided:
    """What became of a redecision; ``over`` are the rules without room."""

    word: RedecidedWord
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why an action was not claimed: ``over`` are the rules without room.

    With none of them, totals that the decision looked at have moved.
    """

    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one replica to execute one action until ``until``.

    ``warrant_id`` is the one to use, or, when ``lapsed``, the one to ask about first.
    """

    record: ActionRecord
    replica: str
    warrant_id: str
    until: datetime
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """How an execution ended, with everything that must be stored in one transaction.

    ``money``: post | void | unknown. ``post_minor_units`` is what the receipt says.
    ``values`` were released; ``ceilings`` are (connector, kind, id, minor units);
    ``bind`` is the interaction with its newly known customer, if it got one;
    ``readings`` count the records that were read; ``resolution`` is what a person
    said, if somebody had to.
    """

    claim: Claim
    state: ActionState
    code: str
    money: str
    post_minor_units: int | None
    currency: str
    payload: Sealed
    values: tuple[Mapping[str, Any], ...]
    ceilings: tuple[tuple[str, str, str, int], ...]
    entries: tuple[AuditEntry, ...]
    readings: tuple[Line, ...] = ()
    bind: Interaction | None = None
    bind_payload_id: str = ""
    forget: bool = False
    alarms: tuple[str, ...] = field(default=())
    resolution: str = ""


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What was said in an interaction, to be stored with its entry."""

    turn_id: str
    interaction: Interaction
    speaker: str
    at: datetime
    payload: Sealed
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Ballot:
    """A verified vote, what it leads to, and what was looked at to say so.

    ``seen`` are the ids of all votes that stood in the table, whether they counted or
    not: if there are others by now, nothing is stored. ``state`` is what the tally with
    this vote is, ``outcome`` the sealed outcome of a rejected action; ``per_hour`` how
    many yeses of one person the policy lets count within an hour.
    """

    vote: Vote
    state: ApprovalState
    seen: frozenset[str]
    payload: Sealed
    outcome: Sealed | None
    entries: tuple[AuditEntry, ...]
    per_hour: int = APPROVALS_PER_HOUR_MAX


class CastWord(StrEnum):
    """What became of a ballot.

    ``REPEATED``: this very vote was stored before. ``MOVED``: other votes are there
    than were looked at. ``CLOSED``: the approval has ended. ``EXPIRED``: it is past
    its expiry, by the database's clock. ``CLAIMED``: somebody else works on it.
    ``CAPPED``: this person said yes too often within the hour.
    """

    COUNTED = "counted"
    REPEATED = "repeated"
    MOVED = "moved"
    CLOSED = "closed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    CLAIMED = "claimed"
    CAPPED = "capped"


@dataclass(frozen=True, slots=True)
class OnDesk:
    """One approval as its columns say: for lists and for the clock, never to decide.

    ``left_s`` is what is left until the expiry, 0 if it has passed; ``votes`` how many
    rows there are. ``action_state`` is where its action is. ``findings`` are the codes
    of what guards found, by the sealed record, while it waits. ``simulated`` marks a
    demo's history. ``escalated`` are further roles that it was passed on to; ``due_s``
    is what is left until time makes the next thing due, and ``at`` when the database
    said all this. ``claimed_by`` is who works on it until ``claimed_until``, empty if
    nobody does.
    """

    approval_id: str
    action_id: str
    action_state: ActionState
    state: ApprovalState
    tool: str
    agent_id: str
    customer_ref: str
    role: str
    approvers_min: int
    amount: Money | None
    barred: frozenset[str]
    votes: int
    created_at: datetime
    expires_at: datetime
    left_s: float
    findings: tuple[str, ...] = ()
    simulated: bool = False
    due_s: float = 0.0
    at: datetime | None = None
    escalated: frozenset[str] = frozenset()
    claimed_by: str = ""
    claimed_until: datetime | None = None

    @property
    def roles(self) -> frozenset[str]:
        """Return the roles that have it in their lists."""
        return self.escalated | {self.role}


@dataclass(frozen=True, slots=True)
class Ran:
    """What the executor reported: the connector's result or an error, and a receipt.

    ``posture`` says how far the connector was confined; empty if nothing ran now.
    """

    result: Mapping[str, Any] | None
    error: RunError | None
    receipt: Receipt | None
    receipt_jws: str = ""
    posture: str = ""

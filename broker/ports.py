"""What the flow needs from the world, as protocols; effects has one adapter for each.

Every method may raise ``UnavailableError``, which means: nothing was done. A method
that writes is durable when it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.approvals.card import Said
    from broker.core.authorize import AgentFacts, RuleBook
    from broker.core.execute import RunError
    from broker.core.identity.channel import ChannelFacts
    from broker.core.words.action import ActionRecord, ActionState
    from broker.core.words.approval import (
        ApprovalRequest,
        ApprovalState,
        Approver,
        StandingApproval,
        Vote,
    )
    from broker.core.words.budget import (
        BudgetKey,
        BudgetRule,
        Line,
        RateAnswer,
        RateKey,
        RateRule,
        Total,
    )
    from broker.core.words.effect import Tier
    from broker.core.words.entry import AuditEntry, PayloadRef
    from broker.core.words.identity import OneUse, RegisteredKey
    from broker.core.words.labels import Integrity
    from broker.core.words.money import Money
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Receipt, Warrant


class Clock(Protocol):
    """The time, as a value that can be replaced."""

    def now(self) -> datetime:
        """Return the current time in UTC."""


class Ids(Protocol):
    """Fresh identifiers."""

    def new(self) -> str:
        """Return a UUIDv7 in lower-case text (RFC 9562)."""


class Shelf(Protocol):
    """The loaded manifests."""

    def tool(self, name: str) -> Tool | None:
        """Return the tool with this name, or None."""

    def tools(self) -> Sequence[Tool]:
        """Return all tools, by name."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A published policy: the rule book and what limits go with it."""

    book: RuleBook
    rates: tuple[RateRule, ...]
    budgets: tuple[BudgetRule, ...]


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """What the signed rows say now about one agent, read in one round trip.

    ``agent`` is None if there is no active agent whose row verifies.
    """

    agent: AgentFacts | None
    epochs: Mapping[str, int]
    policy: Policy
    standing: tuple[StandingApproval, ...]


class Authority(Protocol):
    """Signed rows: agents, people, policies, standing approvals, epochs."""

    async def view(self, agent_id: str, scopes: Sequence[str]) -> AuthorityView:
        """Return what holds now for this agent and these revocation scopes."""

    async def approvers(self) -> Mapping[str, Approver]:
        """Return everybody who may hold an approving role, by person id."""

    async def channel(self, channel_id: str) -> ChannelFacts | None:
        """Return what an active channel may say, or None."""


class Replay(Protocol):
    """The memory of what may be shown only once."""

    async def first_ever(self, use: OneUse) -> bool:
        """Return whether this is the first time; remember it until it lapses."""


class Rates(Protocol):
    """Rate counters."""

    async def check(self, keys: Sequence[RateKey], *, tier: Tier) -> RateAnswer:
        """Charge this call to every counter, or to none if one of them is full."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a value was seen in this interaction: a released field or a turn."""

    integrity: Integrity
    source: str
    kind: str


class Handles(Protocol):
    """Values that were released in an interaction, and what was said in it."""

    async def origins(
        self, interaction: Interaction, values: Mapping[str, Any]
    ) -> Mapping[str, Sequence[Shown]]:
        """Return for each pointer every place where its value was seen before."""

    async def ceilings(
        self, objects: Sequence[tuple[str, str, str]]
    ) -> Mapping[tuple[str, str, str], int]:
        """Return what bounds each (connector, kind, id), where a receipt said so."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A payload that was encrypted for a subject, ready to be stored."""

    ref: PayloadRef
    data: bytes


class Vault(Protocol):
    """Encryption of personal data, one key per subject and purpose."""

    async def seal(self, value: Mapping[str, Any], ref: PayloadDraft) -> Sealed:
        """Encrypt canonical JSON under the subject's data key."""

    async def keyed_hash(self, value: Any, *, subject: str, purpose: str) -> str:  # noqa: ANN401
        """Return an HMAC whose key ends with the subject's data key, in hex."""

    def reference(self, *parts: str) -> str:
        """Return a keyed reference to something whose name must not stand in clear."""


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
class Claim:
    """The right of one replica to execute one action until ``until``.

    ``warrant_id`` is the one to use, or, when ``lapsed``, the one to ask about first.
    """

    record: ActionRecord
    owner: str
    warrant_id: str
    until: datetime
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """How an execution ended, with everything that must be stored in one transaction.

    ``money``: post | void | unknown. ``post_minor_units`` is what the receipt says.
    ``values`` were released; ``ceilings`` are (connector, kind, id, minor units);
    ``bind`` is the interaction with its newly known customer, if it got one.
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
    bind: Interaction | None = None
    bind_payload_id: str = ""
    forget: bool = False
    alarms: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What was said in an interaction, to be stored with its entry."""

    turn_id: str
    interaction: Interaction
    speaker: str
    at: datetime
    payload: Sealed
    entry: AuditEntry


class Store(Protocol):
    """Actions and interactions; PostgreSQL is the truth."""

    async def interaction(self, interaction_id: str) -> Interaction | None:
        """Return an interaction, or None."""

    async def earlier(self, dedupe: str) -> tuple[str, str] | None:
        """Return (action id, fingerprint) stored under this key, or None."""

    async def totals(
        self, keys: Sequence[BudgetKey], *, besides: str
    ) -> Mapping[BudgetKey, Total]:
        """Return what these budgets have posted and hold beside this action."""

    async def submit(self, new: NewAction) -> Stored:
        """Store a decided action with its reservation; integrate its entries."""

    async def action(self, action_id: str) -> ActionRecord | None:
        """Return an action, or None."""

    async def claim(
        self, action_id: str, *, owner: str, warrant_id: str, entry: AuditEntry
    ) -> Claim | None:
        """Take a ready action for execution; None if somebody else has it."""

    async def take_over(self, action_id: str, *, owner: str) -> Claim | None:
        """Take an executing action whose lease has lapsed, without a new warrant."""

    async def rearm(self, claim: Claim, *, warrant_id: str) -> Claim | None:
        """Give a taken-over action a new warrant; the old one can never be sent."""

    async def refuse(
        self,
        action_id: str,
        *,
        owner: str,
        state: ActionState,
        code: str,
        entry: AuditEntry,
    ) -> bool:
        """End an action of which nothing was sent, and void what it held.

        An executing one is ended only for the owner of its claim.
        """

    async def finish(self, finish: Finish) -> bool:
        """Store an outcome; False if the claim was lost meanwhile."""

    async def interrupted(self, *, limit: int) -> Sequence[str]:
        """Return ids of permits that wait and of claims whose lease has lapsed."""

    async def revoked(self, *, limit: int) -> Sequence[str]:
        """Return ids of waiting actions whose identity was revoked meanwhile."""

    async def open(
        self,
        interaction: Interaction,
        *,
        payload: Sealed,
        also: Sequence[Sealed],
        entry: AuditEntry,
    ) -> None:
        """Store a new interaction and integrate its entry."""

    async def add_turn(self, turn: NewTurn) -> None:
        """Store what was said and integrate its entry."""

    async def newest(self, *, agent_id: str, limit: int) -> Sequence[str]:
        """Return ids of an agent's newest actions, newest first."""

    async def approval(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, Sequence[Vote]] | None:
        """Return an approval and its votes whose signatures verify, or None."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """A verified vote, what it leads to, and what was looked at to say so.

    ``seen`` are the ids of all votes that stood in the table, whether they counted or
    not: if there are others by now, nothing is stored. ``state`` is what the tally with
    this vote is, ``outcome`` the sealed outcome of a rejected action.
    """

    vote: Vote
    state: ApprovalState
    seen: frozenset[str]
    payload: Sealed
    outcome: Sealed | None
    entries: tuple[AuditEntry, ...]


class CastWord(StrEnum):
    """What became of a ballot.

    ``REPEATED``: this very vote was stored before. ``MOVED``: other votes are there
    than were looked at. ``CLOSED``: the approval has ended. ``EXPIRED``: it is past
    its expiry, by the database's clock.
    """

    COUNTED = "counted"
    REPEATED = "repeated"
    MOVED = "moved"
    CLOSED = "closed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OnDesk:
    """One approval as its columns say: for lists and for the clock, never to decide.

    ``left_s`` is what is left until the expiry, 0 if it has passed; ``votes`` how many
    rows there are. ``action_state`` is where its action is.
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


class Desk(Protocol):
    """Where approvals wait, and where votes are counted."""

    async def voter(self, person_id: str) -> Sequence[RegisteredKey]:
        """Return the keys in a person's signed row; none if there is no active one."""

    async def votes(self, approval_id: str) -> tuple[Sequence[Vote], frozenset[str]]:
        """Return the votes whose signatures verify, and the ids of all rows."""

    async def cast(self, ballot: Ballot) -> tuple[CastWord, ApprovalState | None]:
        """Store a vote and what it leads to, in one transaction, and integrate it."""

    async def find(self, approval_id: str) -> OnDesk | None:
        """Return an approval's columns, or None."""

    async def hello(self, approval_id: str) -> None:
        """Note that a run of the workflow asked about this approval."""

    async def waiting(self, *, roles: Sequence[str], limit: int) -> Sequence[OnDesk]:
        """Return pending approvals for these roles, the next to expire first."""

    async def due(self, *, limit: int) -> Sequence[str]:
        """Return ids of actions whose approvals have passed their expiry."""

    async def said(self, interaction_id: str) -> Sequence[Said]:
        """Return the newest turns of an interaction, up to WORDS_SHOWN_MAX."""

    async def name(self, interaction_id: str) -> str:
        """Return the customer's name as the system of record gave it, or nothing."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the executor reported: the connector's result or an error, and a receipt."""

    result: Mapping[str, Any] | None
    error: RunError | None
    receipt: Receipt | None
    receipt_jws: str = ""


class Executor(Protocol):
    """Runner and edge, side by side."""

    async def address(self) -> tuple[str, str]:
        """Return edge id and boot id that a warrant must name."""

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        """Execute one warrant; the receipt is verified.

        Raises:
            ExecutorUnavailableError: nothing can have been sent for this warrant.
        """

    async def ask(self, warrant_id: str, action_id: str) -> Ran:
        """Ask what was sent; "not sent" is final from then on. There is no result.

        Raises:
            ExecutorUnavailableError: nobody can say now.
        """


class Journal(Protocol):
    """The audit log, for entries that belong to no other transaction."""

    async def record(self, entry: AuditEntry) -> None:
        """Integrate an entry; it is durable when this returns."""

    async def ready(self) -> None:
        """Raise LedgerUnavailableError if the newest checkpoint lags too far behind."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that the flow may touch.

    ``replica`` names this process in leases and entries; ``tenant`` is whose it is.
    """

    clock: Clock
    ids: Ids
    shelf: Shelf
    authority: Authority
    rates: Rates
    handles: Handles
    vault: Vault
    store: Store
    executor: Executor
    journal: Journal
    replay: Replay
    desk: Desk
    replica: str
    tenant: str

"""What the flow needs from the world, as protocols; effects has one adapter for each.

Every method may raise ``UnavailableError``, which means: nothing was done, or, of a
store that went away while it wrote, that nobody knows. A method that writes is durable
when it returns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from broker.core.identity.refusals import HolderRefusals
from broker.ports.desk import Desk
from broker.ports.policies import Past, PolicyRoom, Shadows, Waiting
from broker.ports.queue import Queue
from broker.ports.unknown import OpenOutcome, Sending, Unresolved
from broker.ports.values import (
    AuthorityView,
    Ballot,
    CastWord,
    Claim,
    Finish,
    NewAction,
    NewTurn,
    NoRoom,
    OnDesk,
    Page,
    PayloadDraft,
    Policy,
    Ran,
    Redecided,
    RedecidedWord,
    Redecision,
    Sealed,
    ShadowCount,
    Shadowed,
    Shown,
    Stored,
    StoredWord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.identity.channel import ChannelFacts
    from broker.core.jwk import PrivateKey
    from broker.core.warrants.probes import ProbeOrder
    from broker.core.words.action import ActionRecord, ActionState
    from broker.core.words.approval import (
        ApprovalRequest,
        Approver,
        Vote,
    )
    from broker.core.words.budget import (
        BudgetKey,
        Line,
        RateAnswer,
        RateKey,
        Total,
    )
    from broker.core.words.effect import Tier
    from broker.core.words.entry import AuditEntry
    from broker.core.words.identity import OneUse
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Warrant

__all__ = [
    "Authority",
    "AuthorityView",
    "Ballot",
    "CastWord",
    "Claim",
    "Clock",
    "Desk",
    "Executor",
    "Finish",
    "Handles",
    "Ids",
    "Journal",
    "NewAction",
    "NewTurn",
    "NoRoom",
    "OnDesk",
    "OpenOutcome",
    "Page",
    "Past",
    "PayloadDraft",
    "Policy",
    "PolicyRoom",
    "Ports",
    "Queue",
    "Ran",
    "Rates",
    "Redecided",
    "RedecidedWord",
    "Redecision",
    "Replay",
    "Sealed",
    "Sending",
    "ShadowCount",
    "Shadowed",
    "Shadows",
    "Shelf",
    "Shown",
    "Store",
    "Stored",
    "StoredWord",
    "Unresolved",
    "Vault",
    "Waiting",
]


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


class Authority(Protocol):
    """Signed rows: agents, people, policies, standing approvals, epochs."""

    async def view(
        self,
        agent_id: str,
        scopes: Sequence[str],
        *,
        chain: Sequence[str] = (),
        ended: bool = False,
    ) -> AuthorityView:
        """Return what holds now for this agent and these revocation scopes.

        ``chain`` are the agents on whose authority it acts, the nearest first. With
        ``ended`` an agent is described that is not active, too: for what people do.
        """

    async def policy(self) -> Policy:
        """Return the policy in force.

        Raises:
            StoreUnavailableError: there is none that verifies.
        """

    async def shadow(self) -> Shadowed | None:
        """Return what runs beside it, None if nothing does that can be evaluated."""

    async def approvers(self) -> Mapping[str, Approver]:
        """Return everybody who may hold an approving role, by person id."""

    async def channel(self, channel_id: str) -> ChannelFacts | None:
        """Return what an active channel may say, or None."""

    async def released(self, budget_id: str) -> Mapping[str, int]:
        """Return up to which freeze each window of a budget was released, by start."""


class Replay(Protocol):
    """The memory of what may be shown only once."""

    async def first_ever(self, use: OneUse) -> bool:
        """Return whether this is the first time; remember it until it lapses."""


class Rates(Protocol):
    """Rate counters."""

    async def check(self, keys: Sequence[RateKey], *, tier: Tier) -> RateAnswer:
        """Charge this call to every counter, or to none if one of them is full."""


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


class Vault(Protocol):
    """Encryption of personal data, one key per subject and purpose."""

    async def seal(self, value: Mapping[str, Any], ref: PayloadDraft) -> Sealed:
        """Encrypt canonical JSON under the subject's data key."""

    async def keyed_hash(self, value: Any, *, subject: str, purpose: str) -> str:  # noqa: ANN401
        """Return an HMAC whose key ends with the subject's data key, in hex."""

    def reference(self, *parts: str) -> str:
        """Return a keyed reference to something whose name must not stand in clear."""


class Store(Protocol):
    """Actions and interactions; PostgreSQL is the truth."""

    async def interaction(self, interaction_id: str) -> Interaction | None:
        """Return an interaction, or None."""

    async def earlier(self, dedupe: str) -> tuple[str, str] | None:
        """Return (action id, fingerprint) stored under this key, or None."""

    async def totals(
        self, keys: Sequence[BudgetKey], *, besides: str, member: str
    ) -> Mapping[BudgetKey, Total]:
        """Return what these budgets have posted and hold beside this action.

        ``member`` is the customer of whom is asked whether they were counted.
        """

    async def submit(self, new: NewAction) -> Stored:
        """Store a decided action with its reservation; integrate its entries."""

    async def action(self, action_id: str) -> ActionRecord | None:
        """Return an action, or None."""

    async def claim(
        self,
        action_id: str,
        *,
        replica: str,
        warrant_id: str,
        lines: Sequence[Line],
        entry: AuditEntry,
    ) -> Claim | NoRoom | None:
        """Take a ready action for execution; None if somebody else has it.

        What it takes is reserved in the windows of now, in the same transaction.
        """

    async def take_over(self, action_id: str, *, replica: str) -> Claim | None:
        """Take an executing action whose lease has lapsed, without a new warrant."""

    async def rearm(self, claim: Claim, *, warrant_id: str) -> Claim | None:
        """Give a taken-over action a new warrant; the old one can never be sent."""

    async def pause(self, claim: Claim) -> ActionRecord | None:
        """Leave what could not be sent alone for a while, each time for longer."""

    async def refuse(
        self,
        action_id: str,
        *,
        claim: Claim | None,
        state: ActionState,
        code: str,
        entry: AuditEntry,
    ) -> bool:
        """End an action of which nothing was sent, and void what it held.

        An executing one is ended only under its claim, warrant included: whoever has
        none, or an older one, cannot know what was sent meanwhile.
        """

    async def finish(self, finish: Finish) -> bool:
        """Store an outcome; False if the claim was lost meanwhile."""

    async def interrupted(self, *, limit: int) -> Sequence[str]:
        """Return ids of claims whose lease has lapsed."""

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

    async def end(
        self,
        interaction: Interaction,
        *,
        payload: Sealed,
        also: Sequence[Sealed],
        entry: AuditEntry,
    ) -> bool:
        """Store an interaction as closed; False if it is, or its customer changed."""

    async def newest(self, *, agent_id: str, limit: int) -> Sequence[str]:
        """Return ids of an agent's newest actions, newest first."""

    async def approval(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, Sequence[Vote]] | None:
        """Return an approval and its votes whose signatures verify, or None."""


class Executor(Protocol):
    """Runner and edge, side by side."""

    async def address(self) -> tuple[str, str]:
        """Return edge id and boot id that a warrant must name."""

    def order(self, order: ProbeOrder) -> str:
        """Return an order to try a credential, signed for the edge."""

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
    ``console_key`` signs votes for people at the console; None where none count.
    ``refusals`` is what this replica wrote down of callers whom it turned away, and
    ``waits`` how many calls of each agent wait here.
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
    queue: Queue
    policies: PolicyRoom
    unknown: Unresolved
    replica: str
    tenant: str
    console_key: PrivateKey | None = None
    refusals: HolderRefusals = field(default_factory=HolderRefusals)
    waits: Counter[str] = field(default_factory=Counter)

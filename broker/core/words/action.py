"""An action request and its life: one path for reads, answers and refunds alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.decision import Escalate, Reason
    from broker.core.words.money import Money

REASON_LENGTH_MAX = 1_000
CITATIONS_MAX = 32
IDEMPOTENCY_KEY_LENGTH_MAX = 200


class ActionState(StrEnum):
    """Where an action is; the last five are ends.

    ``READY`` is decided and not yet claimed; it is shown as ``executing`` on the wire.
    ``UNKNOWN`` is no end: money stays held until somebody or something resolves it.
    """

    PENDING_APPROVAL = "pending_approval"
    READY = "ready"
    EXECUTING = "executing"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset(
    {
        ActionState.DONE,
        ActionState.REFUSED,
        ActionState.FAILED,
        ActionState.CANCELLED,
        ActionState.EXPIRED,
    }
)

# Every move that any part may make; SQL executes the same table (`action_move` in
# actions.sql), and a property test compares the two.
MOVES: Mapping[ActionState, frozenset[ActionState]] = {
    ActionState.PENDING_APPROVAL: frozenset(
        {
            ActionState.READY,
            ActionState.REFUSED,
            ActionState.CANCELLED,
            ActionState.EXPIRED,
        }
    ),
    ActionState.READY: frozenset(
        {
            ActionState.EXECUTING,
            ActionState.REFUSED,
            ActionState.CANCELLED,
            ActionState.FAILED,
            # What was approved is asked again if a new policy asks for more.
            ActionState.PENDING_APPROVAL,
        }
    ),
    ActionState.EXECUTING: frozenset(
        {
            ActionState.DONE,
            ActionState.REFUSED,
            ActionState.FAILED,
            ActionState.UNKNOWN,
        }
    ),
    ActionState.UNKNOWN: frozenset({ActionState.DONE, ActionState.FAILED}),
}


def may_move(old: ActionState, new: ActionState) -> bool:
    """Return whether an action may go from one state to another."""
    return new in MOVES.get(old, frozenset())


def wire_state(state: ActionState) -> str:
    """Return the word that callers see; ``ready`` is an inner step of executing."""
    return (ActionState.EXECUTING if state is ActionState.READY else state).value


class ActionKind(StrEnum):
    """Why an action exists."""

    REQUEST = "request"
    UNDO = "undo"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """What an agent asks for, after parsing; nothing in it decides anything by itself.

    ``arguments`` is strict JSON (no floats outside what the manifest allows);
    ``arguments_digest`` is the SHA-256 of its canonical form, in lower-case hex.
    ``asked_by`` is the person who asked for it, empty if the agent did.
    """

    action_id: str
    tool: str
    arguments: Mapping[str, Any]
    arguments_digest: str
    interaction_id: str
    reason: str
    citations: tuple[str, ...]
    idempotency_key: str
    asked_at: datetime
    kind: ActionKind = ActionKind.REQUEST
    parent_action: str = ""
    reversal_of: str = ""
    disposition: str = ""
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """What the broker derived from a request with the manifest: never from the agent.

    ``objects`` are (kind, id) pairs that the arguments name.
    """

    amount: Money | None
    objects: tuple[tuple[str, str], ...]


class OutcomeWord(StrEnum):
    """How an execution ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended, by the edge's receipt and never by the connector.

    ``sent`` says whether an effectful request left the edge; ``result`` is what the
    release filter let through, ``receipt`` the edge's signed receipt as it was stored.
    """

    word: OutcomeWord
    code: str
    detail: str
    sent: bool
    result: Mapping[str, Any] | None = None
    receipt: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked, frozen with the action so that settle can decide everything again.

    ``principal`` and ``actors`` are the chain that it was asked through, empty if the
    agent asked for itself; ``barred`` are people who had a part in the chain and may
    not sign; ``counts`` are what the action is charged to (`Caller`).
    """

    agent_id: str
    instance_id: str
    kid: str
    grant_id: str
    proof_of_possession: bool
    epochs: tuple[tuple[str, int], ...]
    principal: str = ""
    actors: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """An action as it was stored: what settle starts from.

    ``decision`` is the word of the last decision and ``reasons`` what it said;
    ``asked`` is the escalation that people were asked to sign, None if nobody was;
    ``standing_approval`` and ``approval_id`` name who signed, if somebody did;
    ``findings`` are the guards' (code, argument, text) triples;
    ``warrant_id`` is the last warrant made for it; ``digest`` what an approval covers.
    ``decided`` is what the decision was made from, as core/sealed/decided.py writes it;
    ``asked_again_at`` is when people were asked anew, None if they were asked once;
    ``policy_author`` who wrote the policy that asked, and so does not sign;
    ``tries`` is how often nothing could be sent of what people had signed for;
    ``simulated`` marks what never happened and stands in a demo's history; ``scene``
    is what a card shows of a canary, where others show a record that was read.
    """

    request: ActionRequest
    requester: Requester
    tenant: str
    environment: str
    customer_ref: str
    state: ActionState
    decision: str
    reasons: tuple[Reason, ...]
    findings: tuple[tuple[str, str, str], ...]
    asked: Escalate | None
    policy_version: int
    manifest: str
    standing_approval: str
    approval_id: str
    digest: str
    warrant_id: str
    idempotency_key: str
    outcome: Outcome | None
    created_at: datetime
    expires_at: datetime | None
    decided: Mapping[str, Any] | None = None
    asked_again_at: datetime | None = None
    policy_author: str = ""
    tries: int = 0
    simulated: bool = False
    scene: Mapping[str, Any] | None = None

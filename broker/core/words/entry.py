"""The frozen envelope of an audit entry: every field is always there, or null.

Fields are only ever added behind a new ``schema`` number; none is renamed or reused,
because an entry must be readable as long as anybody keeps a copy of the log. Personal
data never stands in an entry: it refers to payloads by the SHA-256 of their ciphertext.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

ENTRY_SCHEMA = 1
STAGES = ("authenticate", "authorize", "limit", "guard", "approve", "execute", "record")


class EntryKind(StrEnum):
    """What an entry says; the word before the dot is the stage that it belongs to."""

    REFUSED = "authenticate.refused"
    DECISION = "authorize.decision"
    ASKED = "approve.asked"
    CARRIED = "approve.carried"
    DECODED = "approve.decoded"
    VIEW = "approve.view"
    REMINDED = "approve.reminded"
    ESCALATED = "approve.escalated"
    QUESTION = "approve.question"
    ANSWER = "approve.answer"
    VOTE = "approve.vote"
    APPROVAL_ENDED = "approve.ended"
    CANARY = "approve.canary"
    SANDBOX = "execute.sandbox"
    CLAIM = "execute.claim"
    CREDENTIAL = "execute.credential"
    PROBE = "execute.probe"
    OUTCOME = "record.outcome"
    RESOLVED = "record.resolved"
    LOOKED_UP = "execute.looked_up"
    AGAIN = "execute.again"
    INTERACTION = "authenticate.interaction"
    TURN = "authenticate.turn"
    TOKEN = "authenticate.token"  # noqa: S105  (a kind of entry, not a secret)
    AUTHORITY = "authorize.authority"
    REVOCATION = "authenticate.revocation"
    ALARM = "record.alarm"
    ORIGIN = "record.origin"


@dataclass(frozen=True, slots=True)
class PayloadRef:
    """Where the personal part of an entry lies, and what its ciphertext hashes to."""

    payload_id: str
    subject: str
    purpose: str
    retention: str
    data_class: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What one entry says. See ``envelope`` for the bytes that are signed.

    ``context`` holds the fields of the interaction, ``action`` those of the request,
    ``detail`` what is particular to the kind; ``grades`` says of each context field
    whether it was observed, attested or is absent.
    """

    entry_id: str
    kind: EntryKind
    at: datetime
    tenant: str
    environment: str
    context: Mapping[str, Any] = field(default_factory=dict)
    action: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    payloads: tuple[PayloadRef, ...] = ()
    replica: str = ""

"""Warrant and receipt: the order to execute exactly one action, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WARRANT_TTL_S_MAX = 10
WARRANT_TYP = "counterfoil-warrant+jwt"
RECEIPT_TYP = "counterfoil-receipt+jwt"
EDGE_HELLO_TYP = "counterfoil-edge-hello+jwt"
EDGE_EVENT_TYP = "counterfoil-edge-event+jwt"
RULE_VIOLATION = "rule_violation"
"""The edge's alarm: the connector asked for what its manifest does not allow."""


@dataclass(frozen=True, slots=True)
class Warrant:
    """An order to execute exactly one decided action, once, before ``expires_at``.

    ``manifest`` is the digest of the manifest version that was decided on; ``edge`` and
    ``boot`` name the one edge process that may accept it; ``epochs`` are checked again
    by the edge. ``customer_id`` is the upstream's id, empty if the tool needs none;
    ``person_id`` is who ordered it in their own name, empty if an agent asked.

    Source: DESIGN, chapter 4; docs/adr/0006.
    """

    warrant_id: str
    action_id: str
    tenant: str
    environment: str
    connector: str
    tool: str
    manifest: str
    arguments: Mapping[str, Any]
    customer_id: str
    agent_id: str
    edge: str
    boot: str
    epochs: tuple[tuple[str, int], ...]
    idempotency_key: str
    issued_at: datetime
    expires_at: datetime
    person_id: str = ""

    def __post_init__(self) -> None:
        """Refuse naive times and a life beyond the limit."""
        if self.issued_at.tzinfo is None or self.expires_at.tzinfo is None:
            msg = "issued_at and expires_at must carry a time zone"
            raise ValueError(msg)
        life_s = (self.expires_at - self.issued_at).total_seconds()
        if not 0 < life_s <= WARRANT_TTL_S_MAX:
            msg = f"a warrant lives up to {WARRANT_TTL_S_MAX} s, got {life_s}"
            raise ValueError(msg)


class SentState(StrEnum):
    """What the edge's journal knows of a warrant's effectful request."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the edge says came back, signed with its receipt key.

    ``NOT_SENT`` is final: the edge will never send for this warrant afterwards.
    ``values`` are taken from the raw upstream response by the manifest's pointers
    (owner, object, amount, currency, paid, status); ``upstream_status`` is the HTTP
    status of the request that the manifest's [receipt] names, or 0.
    """

    warrant_id: str
    action_id: str
    edge: str
    boot: str
    nonce: str
    state: SentState
    upstream_status: int
    values: Mapping[str, Any]
    requests: tuple[Mapping[str, Any], ...]
    alarms: tuple[str, ...]
    issued_at: datetime

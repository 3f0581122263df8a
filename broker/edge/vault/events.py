"""Sign what was done with a credential, for a broker to record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.core.jws import sign
from broker.core.warrants.events import EdgeEvent, event_claims
from broker.core.words.warrant import EDGE_EVENT_TYP
from broker.edge.identity import uuid7
from broker.edge.vault.rows import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from broker.core.warrants.events import EdgeEventKind
    from broker.edge.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """Signs events with the edge's receipt key.

    ``by`` says who is at work: ``edge``, or a system user at the command line.
    """

    identity: Identity
    tenant: str
    environment: str
    by: str
    now: Callable[[], datetime]

    def event(
        self, kind: EdgeEventKind, connector: str, detail: Mapping[str, Any]
    ) -> Event:
        """Return a signed event, to be stored together with what it tells of."""
        now = self.now()
        event = EdgeEvent(
            event_id=uuid7(now),
            edge=self.identity.edge,
            at=now,
            kind=kind,
            tenant=self.tenant,
            environment=self.environment,
            connector=connector,
            detail={**detail, "by": self.by},
        )
        token = sign(event_claims(event), key=self.identity.key, typ=EDGE_EVENT_TYP)
        return Event(event.event_id, token)

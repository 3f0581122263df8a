"""Record what edges did with credentials: verify each event, and log it once.

The edge may not write the log, and the database may not speak for the edge: only what
the edge's receipt key signed becomes an entry of its own kind. Anything else in that
table is somebody's attempt, and is recorded as that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from broker.core.jws import JwsError, verify
from broker.core.warrants.events import parse_event
from broker.core.warrants.orders import OrderError
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.warrant import EDGE_EVENT_TYP
from broker.effects.keyfiles import KeyFileError, PublicKeyFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.core.jws import PublicKey
    from broker.core.warrants.events import EdgeEvent
    from broker.effects.database import Database
    from broker.effects.scribe import Scribe
    from broker.ports import Ports

EVENTS_MAX = 50
"""How many are recorded in one sweep."""

REFUSED = "edge_event_refused"

_NEW = """
SELECT e.event_id, e.token FROM edge_event e
 WHERE NOT EXISTS (SELECT FROM edge_event_recorded r WHERE r.event_id = e.event_id)
 ORDER BY e.at, e.event_id LIMIT $1
"""
_log = structlog.get_logger("edge_events")


class Told(Protocol):
    """What settings say.

    The edge makes its key at its first start; before that there is nothing to record.
    """

    @property
    def receipt_key(self) -> Path:
        """Return the public JWK file of the edge's receipt key."""

    @property
    def environment(self) -> str:
        """Return the one environment that is ours."""


class EdgeEvents:
    """What edges said, for the log."""

    def __init__(
        self, database: Database, ports: Ports, *, scribe: Scribe, told: Told
    ) -> None:
        """Keep the adapters.

        Args:
            database: As the broker's role.
            ports: Clock, ids, tenant, and who records.
            scribe: Writes entries.
            told: Where the edge's key is, and which environment is ours.
        """
        self._database = database
        self._scribe = scribe
        self._receipt_key = PublicKeyFile(told.receipt_key)
        self._where = (ports.tenant, told.environment)
        self._replica = ports.replica
        self._clock = ports.clock
        self._ids = ports.ids

    async def record_new(self) -> int:
        """Record what was not recorded yet; return how much this replica recorded.

        Raises:
            UnavailableError: Database or log cannot take it now; it is tried again.
        """
        rows = await self._database.rows(_NEW, EVENTS_MAX)
        keys = self._keys() if rows else None
        count = 0
        for row in rows if keys is not None else ():
            event_id = str(row["event_id"])
            entry = self._entry(event_id, row["token"], keys or {})
            document = {"event_id": event_id}
            # Entry and mark are one transaction: another replica makes no second one.
            count += await self._scribe.together([entry], "edge_event_record", document)
        return count

    def _keys(self) -> Mapping[str, PublicKey] | None:
        try:
            return self._receipt_key.keys()
        except KeyFileError:
            # Without the key nobody can say whether an event is real: it waits.
            _log.warning("receipt_key", file=str(self._receipt_key.path))
            return None

    def _entry(
        self, event_id: str, token: str, keys: Mapping[str, PublicKey]
    ) -> AuditEntry:
        try:
            event = parse_event(verify(token, keys=keys, typ=EDGE_EVENT_TYP))
        except (JwsError, OrderError):
            event = None
        if event is None or not self._is_ours(event, event_id):
            _log.warning(REFUSED, event_id=event_id)
            return self._made(
                self._ids.new(),
                EntryKind.ALARM,
                {"alarm": REFUSED, "event": event_id},
            )
        detail = {
            **event.detail,
            "event": event.kind.value,
            "connector": event.connector,
            "edge": event.edge,
            "signed": token,
        }
        return self._made(event_id, EntryKind.CREDENTIAL, detail, said=event)

    def _is_ours(self, event: EdgeEvent, event_id: str) -> bool:
        return (event.event_id, event.tenant, event.environment) == (
            event_id,
            *self._where,
        )

    def _made(
        self,
        entry_id: str,
        kind: EntryKind,
        detail: Mapping[str, object],
        *,
        said: EdgeEvent | None = None,
    ) -> AuditEntry:
        tenant, environment = self._where
        return AuditEntry(
            entry_id=entry_id,
            kind=kind,
            at=self._clock.now() if said is None else said.at,
            tenant=tenant,
            environment=environment,
            detail=detail,
            replica=self._replica,
        )

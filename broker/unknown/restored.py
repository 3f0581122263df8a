"""Compare what edges sent with what a restored database knows of it.

An action that an edge has sent, and that the restored rows would still decide or
execute, becomes unknown: it is reconciled like any other, and its money stays held.
One that the database does not know at all is named in the log; people account for it.

Source: DESIGN, chapter 7 (When parts are down).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.core.words.action import ActionState
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.subject import Caller
    from broker.ports import Ports

SENT_MAX: Final = 10_000
"""How many warrants of edges one comparison takes."""

RESTORED: Final = "restored"
LOST: Final = "action_lost"
"""Alarms: sent, and known as not sent yet; sent, and not known at all."""

_STILL = frozenset(
    {ActionState.PENDING_APPROVAL, ActionState.READY, ActionState.EXECUTING}
)


class Gate(Protocol):
    """What is shut after a restore; effects has it."""

    async def origin(self) -> str:
        """Return the origin that nobody has agreed to yet, empty if there is none."""

    async def hold(self, action_id: str, warrant_id: str, entry: AuditEntry) -> bool:
        """Put an action aside that an edge has sent; False if nothing was to do."""

    async def agree(self, origin: str, *, by: str, entry: AuditEntry) -> None:
        """Open the gate for this origin."""


@dataclass(frozen=True, slots=True)
class SentWarrant:
    """What an edge's journal says: under which warrant an action was sent."""

    warrant_id: str
    action_id: str
    tool: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """What came of a comparison: how many agree, which were held, which are lost."""

    origin: str
    known: int
    held: tuple[str, ...]
    lost: tuple[str, ...]


async def agree(
    ports: Ports,
    gate: Gate,
    who: Caller,
    sent: Sequence[SentWarrant],
    *,
    reason: str,
) -> Agreed:
    """Compare, put aside, record, and let everything go on.

    Raises:
        ConflictError: Nothing was restored, or it was agreed to before.
    """
    origin = await gate.origin()
    if not origin:
        msg = "nothing waits for this: the log goes on under an origin that is agreed"
        raise ConflictError(msg)
    held, lost = [], []
    for one in sent:
        record = await _record(ports, one.action_id)
        if record is None:
            # If we die after this, it is named a second time by the next comparison.
            await ports.journal.record(_alarm(ports, who, one, LOST))
            lost.append(one.action_id)
        elif record.state in _STILL:
            entry = _alarm(ports, who, one, RESTORED)
            if await gate.hold(one.action_id, one.warrant_id, entry):
                held.append(one.action_id)
    known = len(sent) - len(held) - len(lost)
    by = f"person:{who.subject_id}"
    detail = {
        "origin": origin,
        "by": by,
        "reason": reason,
        "known": known,
        "held": len(held),
        "lost": len(lost),
    }
    entry = _entry(ports, who, EntryKind.ORIGIN, detail)
    await gate.agree(origin, by=by, entry=entry)
    return Agreed(origin, known, tuple(held), tuple(lost))


def _alarm(ports: Ports, who: Caller, one: SentWarrant, alarm: str) -> AuditEntry:
    action = {"action_id": one.action_id, "tool": one.tool}
    detail = {"alarm": alarm, "warrant": one.warrant_id}
    return _entry(ports, who, EntryKind.ALARM, detail, action)


def _entry(
    ports: Ports,
    who: Caller,
    kind: EntryKind,
    detail: dict[str, Any],
    action: dict[str, Any] | None = None,
) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=kind,
        at=ports.clock.now(),
        tenant=who.tenant,
        environment=who.environment,
        action=action or {},
        detail=detail,
        replica=ports.replica,
    )


async def _record(ports: Ports, action_id: str) -> Any:  # noqa: ANN401  (or None)
    try:
        return await ports.store.action(action_id)
    except LookupError:
        return None

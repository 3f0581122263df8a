"""When an agent had authority, by what, and what happened under it.

Rows of the registry say what held from when to when; entries of the log prove it;
actions were done under it. Everything was verified before it gets here, and nothing is
concluded from what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from broker.core.words.entry import EntryKind
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

ACTIVE: Final = "active"


class Row(Protocol):
    """A signed row of the registry, as far as a timeline needs it."""

    @property
    def kind(self) -> str:
        """Return what it is about."""

    @property
    def row_id(self) -> str:
        """Return whose it is."""

    @property
    def revision(self) -> int:
        """Return which one it is."""

    @property
    def at(self) -> datetime:
        """Return since when it holds."""

    @property
    def by(self) -> Sequence[str]:
        """Return who signed for it."""

    @property
    def body(self) -> Mapping[str, Any]:
        """Return what it says."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log that verified, and its position."""

    seq: int
    entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acted:
    """An action, and the first entry about it; None while the log lacks one."""

    action_id: str
    tool: str
    state: str
    grant_id: str
    at: datetime
    seq: int | None


One = TypeVar("One", Logged, Acted)


@dataclass(frozen=True, slots=True)
class Found(Generic[One]):
    """What was read of a past, and where to go on reading: None if that is all.

    ``more`` is a position in the log for entries, a moment for actions.
    """

    rows: Sequence[One] = ()
    more: int | datetime | None = None


def timeline(
    rows: Sequence[Row],
    entries: Sequence[Logged],
    actions: Sequence[Acted],
    *,
    switch: Sequence[Row] = (),
) -> dict[str, Any]:
    """Put together what security has to prove about one agent.

    Args:
        rows: Its rows, the earliest first; at least one.
        entries: What the log says about it, in its order.
        actions: What it did, the earliest first.
        switch: Rows of the kill switch, the earliest first.
    """
    periods = [_period(rows, at, entries) for at in range(len(rows))]
    events = [event for one in entries if (event := _event(one))]
    events += [_stop(row) for row in switch if row.at >= rows[0].at]
    events.sort(key=lambda event: str(event["at"]))
    kids = {
        event["grant"]: event["kid"]
        for event in events
        if event["what"] == "token" and event["grant"]
    }
    done = [_action(one, kids) for one in actions]
    for period in periods:
        period["tokens"] = sum(
            event["what"] == "token" and _within(period, event["at"])
            for event in events
        )
        period["actions"] = sum(_within(period, action["at"]) for action in done)
    return {
        "agent": rows[0].row_id,
        "from": write_moment(rows[0].at),
        "until": _ended(rows),
        "status": rows[-1].body.get("status"),
        "periods": periods,
        "events": events,
        "actions": done,
    }


def _period(rows: Sequence[Row], at: int, entries: Sequence[Logged]) -> dict[str, Any]:
    """Return what one revision gave, how long, and the entry that proves it."""
    row = rows[at]
    before = rows[at - 1].revision if at else 0
    ends = rows[at + 1].at if at + 1 < len(rows) else None
    proof = next((one for one in entries if _made(one, row, before)), None)
    detail = proof.entry["detail"] if proof else {}
    return {
        "revision": row.revision,
        "from": write_moment(row.at),
        "until": write_moment(ends) if ends else None,
        "by": list(row.by),
        "what": detail.get("what"),
        "reason": detail.get("reason"),
        "seq": proof.seq if proof else None,
        "status": row.body.get("status"),
        "tier_max": row.body.get("tier_max"),
        "tools": list(row.body.get("tools", [])),
        "kids": [key["kid"] for key in row.body.get("keys", [])],
    }


def _made(one: Logged, row: Row, before: int) -> bool:
    """Return whether an entry is the one that this revision was stored with."""
    detail = one.entry.get("detail", {})
    if (
        one.entry.get("kind") != EntryKind.AUTHORITY
        or detail.get("kind") != row.kind
        or detail.get("id") != row.row_id
    ):
        return False
    if "after_revision" in detail:
        return bool(detail["after_revision"] == before)
    return bool(detail.get("revision") == row.revision)


def _event(one: Logged) -> dict[str, Any] | None:
    """Return what an entry says in short, tied to a key where it names one."""
    entry, detail = one.entry, one.entry.get("detail", {})
    context = entry.get("context", {})
    said = {
        "at": entry.get("at"),
        "seq": one.seq,
        "kid": context.get("kid") or detail.get("kid"),
        "grant": context.get("grant"),
        "by": detail.get("by"),
        "reason": detail.get("reason"),
    }
    match entry.get("kind"):
        case EntryKind.TOKEN:
            more = {"what": "token", "token": detail.get("token")}
            return said | more | {"until": detail.get("expires_at")}
        case EntryKind.REFUSED:
            codes = [reason.get("code") for reason in detail.get("reasons", [])]
            # The agent stands in the context if its token verified; else it is a claim.
            known = bool(context.get("agent"))
            more = {"what": "refused", "codes": codes, "claimed": not known}
            return said | more | {"held_back": detail.get("held_back", 0)}
        case EntryKind.REVOCATION:
            what = detail.get("what") or "revoked"
            return said | {"what": what, "scopes": detail.get("scopes", [])}
        case EntryKind.AUTHORITY:
            return said | {
                "what": detail.get("what") or "bootstrap",
                "seconded_by": detail.get("seconded_by"),
                "scopes": detail.get("scopes", []),
            }
        case EntryKind.ALARM:
            return said | {"what": detail.get("alarm") or "alarm"}
        case _:
            return None


def _stop(row: Row) -> dict[str, Any]:
    on = bool(row.body.get("on"))
    return {
        "at": write_moment(row.at),
        "seq": None,
        "kid": None,
        "grant": None,
        "by": ", ".join(row.by),
        "reason": None,
        "what": "kill_switch.on" if on else "kill_switch.off",
    }


def _action(one: Acted, kids: Mapping[str, str]) -> dict[str, Any]:
    return {
        "at": write_moment(one.at),
        "action": one.action_id,
        "tool": one.tool,
        "state": one.state,
        "grant": one.grant_id,
        "kid": kids.get(one.grant_id),
        "seq": one.seq,
    }


def _within(period: Mapping[str, Any], at: str) -> bool:
    return period["from"] <= at and (period["until"] is None or at < period["until"])


def _ended(rows: Sequence[Row]) -> str | None:
    """Return since when the agent may not act, or None while it may."""
    since = None
    for row in rows:
        if row.body.get("status") == ACTIVE:
            since = None
        elif since is None:
            since = row.at
    return write_moment(since) if since else None

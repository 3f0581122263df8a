"""Signing keys: looked at, rotated by a person or when it is time, dropped at once.

Core says what becomes of the ring; here it is signed as a row, with its entry in the
same transaction. All replicas follow from the row within `REFRESH_EVERY_S`; that a key
is compromised holds from the moment of the commit, because every call reads the epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.api.identity.evidence import entry_of
from broker.core.identity.signing_keys import (
    KeyState,
    compromised,
    due,
    rotated,
    signing_key,
    state_of,
)
from broker.core.identity.tokens import key_scope
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ConflictError, StoreUnavailableError
from broker.core.words.moment import write_moment
from broker.registry.keys.signing import RING_ID, RING_KIND, parse_ring, ring_body
from broker.registry.reading import RowError
from broker.registry.records import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.api.identity.changes import Why
    from broker.api.identity.desk import Desk
    from broker.core.identity.signing_keys import Ring, SigningKey

SCHEDULE: Final = "schedule"
"""In whose name a rotation is recorded that nobody asked for: it was time."""


async def the_ring(desk: Desk) -> tuple[int, Ring]:
    """Return the ring in force, and its revision.

    Raises:
        StoreUnavailableError: There is none that verifies.
    """
    row = await desk.registry.get(RING_KIND, RING_ID)
    try:
        if row is not None:
            return row.revision, parse_ring(row)
    except RowError:
        pass
    msg = "there is no ring of signing keys that verifies"
    raise StoreUnavailableError(msg, hint="a broker makes one when it starts")


async def rotate(desk: Desk, why: Why) -> Ring:
    """Let the pending key sign as soon as everybody knows it.

    Raises:
        ConflictError: A rotation is under way, or somebody changed the ring meanwhile.
    """
    by = f"person:{why.actor.person_id}"
    return await _rotate(desk, by=by, reason=why.reason)


async def rotate_if_due(desk: Desk) -> bool:
    """Rotate if the active key has signed long enough; return whether it was time."""
    _, ring = await the_ring(desk)
    if not due(ring, now=desk.clock.now(), pace=desk.keys.pace):
        return False
    try:
        await _rotate(desk, by=SCHEDULE, reason="it was time")
    except ConflictError:
        # Another replica found it due in the same moment.
        return False
    return True


async def compromise(desk: Desk, kid: str, why: Why) -> Ring:
    """Drop a key at once, and end every access token of this environment.

    Raises:
        NotFoundError: No such key is published.
        ConflictError: Somebody changed the ring meanwhile.
    """
    revision, ring = await the_ring(desk)
    fresh = await desk.keys.fresh()
    now, pace = desk.clock.now(), desk.keys.pace
    changed = compromised(ring, kid, fresh, now=now, pace=pace)
    detail = {
        "what": "signing_key.compromised",
        "by": f"person:{why.actor.person_id}",
        "reason": why.reason or None,
        "kid": kid,
    }
    scopes = (f"global:{desk.environment}", key_scope(kid))
    await _put(desk, changed, detail, after=revision, revokes=scopes)
    await desk.keys.drop(kid)
    return changed


def key_json(desk: Desk, key: SigningKey) -> dict[str, Any]:
    """Return one key as people see it."""
    moments = ("published_at", "signs_from", "signs_until", "compromised_at")
    state = state_of(key, now=desk.clock.now(), pace=desk.keys.pace)
    ends = key.signs_until + desk.keys.pace.tail if key.signs_until else None
    return {
        "kid": key.kid,
        "state": state.value,
        "algorithm": key.key.algorithm.value,
        "verifies_until": write_moment(ends) if ends else None,
    } | {
        name: write_moment(moment) if (moment := getattr(key, name)) else None
        for name in moments
    }


async def _rotate(desk: Desk, *, by: str, reason: str) -> Ring:
    revision, ring = await the_ring(desk)
    now, pace = desk.clock.now(), desk.keys.pace
    # Asked before a key is made: what cannot be done leaves nothing behind.
    rotated(ring, ring.keys[0].key, now=now, pace=pace)
    fresh = await desk.keys.fresh()
    changed = rotated(ring, fresh, now=now, pace=pace)
    before = signing_key(ring, now=now, pace=pace)
    after = next(key for key in changed.keys if before and key.kid == before.kid)
    detail = {
        "what": "signing_key.rotate",
        "by": by,
        "reason": reason or None,
        "kid": after.kid,
        "signs_until": write_moment(after.signs_until or now),
        "published": fresh.kid,
    }
    await _put(desk, changed, detail, after=revision)
    return changed


async def _put(
    desk: Desk,
    ring: Ring,
    detail: dict[str, Any],
    *,
    after: int,
    revokes: Sequence[str] = (),
) -> None:
    states = {
        key.kid: state_of(key, now=desk.clock.now(), pace=desk.keys.pace).value
        for key in ring.keys
    }
    said = {
        "kind": RING_KIND,
        "id": RING_ID,
        "after_revision": after,
        "signed_by": [detail["by"]],
        "keys": states,
        "signs": next((k for k, s in states.items() if s == KeyState.ACTIVE), None),
        "scopes": list(revokes),
    }
    change = Change(
        kind=RING_KIND,
        row_id=RING_ID,
        body=ring_body(ring),
        by=(detail["by"],),
        at=desk.clock.now(),
        after=after,
        revokes=tuple(revokes),
    )
    entry = entry_of(desk, EntryKind.AUTHORITY, detail | said)
    await desk.registry.put(change, entry)
    await desk.keys.refresh()

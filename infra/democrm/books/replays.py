"""Answer the same request twice with the same answer, and do it once.

Source: draft-ietf-httpapi-idempotency-key-header-07, section 2.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from infra.democrm.books.store import Store
from infra.democrm.words import Answer, Occasion, canonical, refusal

Operation = Callable[[sqlite3.Connection, Occasion], Answer]
REPLAYED: Final = {"Idempotent-Replay": "true"}


def fingerprint(*, method: str, path: str, body: object) -> str:
    """Return what must be equal for two requests to be the same request."""
    text = f"{method}\n{path}\n{canonical(body)}"
    return hashlib.sha256(text.encode()).hexdigest()


def once(
    store: Store,
    occasion: Occasion,
    operation: Operation,
    *,
    request: str,
    ttl_s: int,
) -> Answer:
    """Run the operation and keep its answer with the change, in one transaction.

    Refusals that the operation decided are kept like any other answer. Without a key
    nothing is kept; with ``ttl_s`` 0 every key is already forgotten.

    Args:
        store: The open state.
        occasion: Now, and the key if the caller sent one.
        operation: What to do if this key has not been answered yet.
        request: The request's fingerprint.
        ttl_s: How long a key is honoured, in seconds.

    Returns:
        The operation's answer, or the kept one; 409 if the key came with another
        request.

    Raises:
        sqlite3.Error: nothing was done.
    """
    key = occasion.idempotency_key
    with store.transaction() as connection:
        if key is None:
            return operation(connection, occasion)
        oldest = _microseconds(occasion.now - timedelta(seconds=ttl_s))
        kept = connection.execute(
            "SELECT fingerprint, status, body FROM replays"
            " WHERE idempotency_key = ? AND stored_at_us > ?",
            (key, oldest),
        ).fetchone()
        if kept is not None and kept[0] != request:
            return refusal(409, "idempotency_conflict")
        if kept is not None:
            return Answer(kept[1], json.loads(kept[2]), headers=REPLAYED)
        answer = operation(connection, occasion)
        connection.execute("DELETE FROM replays WHERE stored_at_us <= ?", (oldest,))
        connection.execute(
            "INSERT INTO replays VALUES (?, ?, ?, ?, ?)",
            (
                key,
                request,
                _microseconds(occasion.now),
                answer.status,
                # As it was written, not canonical: the replay has the same bytes.
                json.dumps(answer.body),
            ),
        )
        return answer


def _microseconds(time: datetime) -> int:
    # Integers all the way: a float of seconds would round the age of a key.
    epoch = datetime.fromtimestamp(0, tz=time.tzinfo)
    return (time - epoch) // timedelta(microseconds=1)

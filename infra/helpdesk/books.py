"""Keep tickets, comments and macros in SQLite, durable before anything is answered.

A change, its answer under the idempotency key, and its line in the journal are one
transaction: what was answered once is answered the same again, and done once.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

KEY_KEPT: Final = timedelta(hours=24)
TICKETS_SHOWN_MAX: Final = 25
COMMENTS_SHOWN_MAX: Final = 100

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS ticket (
  id INTEGER PRIMARY KEY, requester_id TEXT NOT NULL, subject TEXT NOT NULL,
  description TEXT NOT NULL, status TEXT NOT NULL, priority TEXT NOT NULL,
  external_id TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS comment (
  id INTEGER PRIMARY KEY, ticket_id INTEGER NOT NULL REFERENCES ticket,
  author TEXT NOT NULL, body TEXT NOT NULL, external_id TEXT NOT NULL,
  created_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS replay (
  key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL,
  body TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, key TEXT NOT NULL, what TEXT NOT NULL,
  ticket_id INTEGER NOT NULL
);
"""
_SEED: Final = (
    ("sofia_li_9219", "Where is my bicycle?", "It should have come on Monday.", "open"),
    ("sofia_li_9219", "Invoice for my records", "Please send it again.", "solved"),
    ("noah_brown_6181", "Wrong size", "The shirt is too small.", "open"),
)
MACROS: Final = (
    {"id": 1, "title": "Ask for a photo", "status": "pending"}
    | {"text": "Could you send us a photo of it, please?"},
    {"id": 2, "title": "Solved", "status": "solved"}
    | {"text": "We are glad that this is settled. Write again if it is not."},
)
_TICKET: Final = (
    "id, requester_id, subject, description, status, priority, created_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: dict[str, Any]


def refusal(status: int, error: str) -> Answer:
    """Return the answer that says that nothing was done."""
    return Answer(status, {"error": error})


@dataclass(frozen=True, slots=True)
class Work:
    """One change under way: the transaction, when it is, and under which key."""

    connection: sqlite3.Connection
    now: str
    key: str

    def note(self, what: str, ticket_id: int) -> None:
        """Add a line to the journal."""
        self.connection.execute(
            "INSERT INTO journal (at, key, what, ticket_id) VALUES (?, ?, ?, ?)",
            (self.now, self.key, what, ticket_id),
        )

    def ticket(self, ticket_id: int) -> dict[str, Any] | None:
        """Return a ticket, or None."""
        row = self.connection.execute(
            f"SELECT {_TICKET} FROM ticket WHERE id = ?",  # noqa: S608 (our own words)
            (ticket_id,),
        ).fetchone()
        return dict(row) if row else None

    def comment(
        self, ticket_id: int, author: str, body: str, *, external_id: str
    ) -> dict[str, Any]:
        """Add a comment and return it."""
        made = self.connection.execute(
            "INSERT INTO comment (ticket_id, author, body, external_id, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (ticket_id, author, body, external_id, self.now),
        )
        comment = {"id": made.lastrowid, "author": author, "body": body}
        return {**comment, "created_at": self.now}


class Books:
    """The help desk's state in one file."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime]) -> None:
        """Open the file; a new one gets a few tickets."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)
        self._clock = clock
        if not self._connection.execute("SELECT 1 FROM ticket").fetchone():
            self.reset()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def reset(self) -> None:
        """Return to the tickets that a new file has."""
        now = self._now()
        with self._connection as work:
            work.execute("BEGIN IMMEDIATE")
            for table in ("journal", "replay", "comment", "ticket"):
                work.execute(f"DELETE FROM {table}")  # noqa: S608 (our own words)
            work.executemany(
                "INSERT INTO ticket (requester_id, subject, description, status,"
                " priority, external_id, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, 'normal', '', ?, ?)",
                [(*one, now, now) for one in _SEED],
            )

    def tickets(self, user_id: str, status: str) -> list[dict[str, Any]]:
        """Return a user's newest tickets, of one status or of any."""
        return self._rows(
            f"SELECT {_TICKET} FROM ticket WHERE requester_id = ?"  # noqa: S608
            " AND (? = '' OR status = ?) ORDER BY id DESC LIMIT ?",
            (user_id, status, status, TICKETS_SHOWN_MAX),
        )

    def ticket(self, ticket_id: int) -> dict[str, Any] | None:
        """Return a ticket, or None."""
        return Work(self._connection, "", "").ticket(ticket_id)

    def comments(self, ticket_id: int) -> list[dict[str, Any]]:
        """Return a ticket's first comments."""
        return self._rows(
            "SELECT id, author, body, created_at FROM comment WHERE ticket_id = ?"
            " ORDER BY id LIMIT ?",
            (ticket_id, COMMENTS_SHOWN_MAX),
        )

    def journal(self) -> list[dict[str, Any]]:
        """Return every change, oldest first."""
        return self._rows("SELECT * FROM journal ORDER BY seq", ())

    def once(self, key: str, request: object, do: Callable[[Work], Answer]) -> Answer:
        """Do it, or answer as before: the same key and request are the same change.

        Args:
            key: The caller's, or empty: nothing is kept then.
            request: What must be equal for two requests to be the same.
            do: The change; a refusal is kept like any other answer.
        """
        text = json.dumps(request, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            kept = self._kept(key) if key else None
            if kept is not None:
                if kept["request"] != digest:
                    return refusal(409, "key_reused")
                return Answer(kept["status"], json.loads(kept["body"]))
            answer = do(Work(connection, self._now(), key))
            if key:
                connection.execute(
                    "INSERT OR REPLACE INTO replay VALUES (?, ?, ?, ?, ?)",
                    (key, digest, answer.status, json.dumps(answer.body), self._now()),
                )
            return answer

    def _kept(self, key: str) -> sqlite3.Row | None:
        oldest = (self._clock().astimezone(UTC) - KEY_KEPT).isoformat()
        row: sqlite3.Row | None = self._connection.execute(
            "SELECT request, status, body FROM replay WHERE key = ? AND at > ?",
            (key, oldest),
        ).fetchone()
        return row

    def _rows(self, query: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
        with closing(self._connection.execute(query, values)) as found:
            return [dict(row) for row in found]

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat()

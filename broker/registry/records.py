"""What is handed to and from the registry: changes, hints, arrivals and key uses.

A hint stands beside a signed row and is not signed: a table is searched by it, and
nobody believes it. It leaves out rows that cannot matter. Whoever writes to the table
can hide what gives power, or have more looked at; so only kinds that give power have
one, and what is found counts by its signature alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from typing import TYPE_CHECKING, Any

from broker.core.words.moment import read_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.identity import OneUse


@dataclass(frozen=True, slots=True)
class Change:
    """A new revision of one row.

    ``after`` is the revision that it was made from, 0 for a new row; ``revokes`` are
    the scopes that end with it, in the same transaction.
    """

    kind: str
    row_id: str
    body: Mapping[str, Any]
    by: tuple[str, ...]
    at: datetime
    after: int
    revokes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hint:
    """Whom a revision is about, and when it cannot matter any more.

    An active standing approval is about its agents; a proposed one is about whoever
    proposed it, because it waits for nothing but a second person.
    """

    about: tuple[str, ...] = ()
    until: datetime | None = None


def hint_of(kind: str, body: Mapping[str, Any]) -> Hint:
    """Return the hint of a body that was checked; an empty one for most kinds."""
    if kind != "standing_approval":
        return Hint()
    until = read_moment(body["expires_at"])
    match body["status"]:
        case "active":
            return Hint(tuple(body["agents"]), until)
        case "proposed":
            return Hint(tuple(body["signed_by"]), until)
        case _:
            return Hint()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified token request, to be remembered."""

    subject: str
    kid: str
    instance_id: str
    jkt: str
    one_use: OneUse
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of an arrival.

    ``word`` is ok, replayed or crowded; ``epochs`` are those of its scopes.
    """

    word: str
    epochs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Instance:
    """A running copy of an identity, by the key that it proves."""

    instance_id: str
    jkt: str
    first_seen: datetime
    last_seen: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class KeyUse:
    """When a registered key authenticated, and how often."""

    kid: str
    first_used: datetime
    last_used: datetime
    uses: int

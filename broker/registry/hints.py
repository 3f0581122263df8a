"""Hints beside signed rows: what a table is searched by, and nobody believes.

A hint finds rows that may matter and leaves out those that cannot. It is not signed:
whoever writes to the table can hide what gives power, or have more looked at. So only
kinds that give power have one, and what is found counts by its signature alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.core.words.moment import read_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


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

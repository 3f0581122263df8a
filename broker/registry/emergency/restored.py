"""What a person agreed to after a restore: a signed row for each origin of the log.

An unsigned one would let whoever writes to the database go on without anybody having
compared what edges sent.

Source: DESIGN, chapters 3 (invariant 11) and 4.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from broker.registry.authority import AuthorityRow

RESTORED_KIND: Final = "restored"
_ID_CHARS = 32


def restored_id(origin: str) -> str:
    """Return the id of the row of an origin, whose name is no id."""
    return sha256(origin.encode()).hexdigest()[:_ID_CHARS]


def restored_body(origin: str) -> dict[str, Any]:
    """Return the body of the row of an origin that somebody agreed to."""
    return {"origin": origin}


def agreed(row: AuthorityRow | None, origin: str) -> bool:
    """Return whether a verified row says that somebody agreed to this origin."""
    return row is not None and row.body == restored_body(origin)

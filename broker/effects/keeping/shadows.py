"""What a shadow policy would have decided otherwise: counts in SQL, once per action."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.ports import ShadowCount
from broker.watch.replay import Flip, Tally, to_json

if TYPE_CHECKING:
    from broker.effects.database import Database

_SEEN = "SELECT * FROM policy_shadow WHERE revision = $1"
_FLIPS = "SELECT * FROM policy_shadow_flip WHERE revision = $1"


class PostgresShadows:
    """The Shadows port: a cursor and counts for each revision of the shadow's row."""

    def __init__(self, database: Database) -> None:
        """Keep where counts go."""
        self._database = database

    async def count(self, revision: int) -> ShadowCount | None:
        """Return what was counted for a revision, None if nothing was yet."""
        row = await self._database.row(_SEEN, revision)
        if row is None:
            return None
        tally = Tally(replayed=row["replayed"])
        tally.left_out["left_out"] = row["left_out"]
        for flip in await self._database.rows(_FLIPS, revision):
            name = Flip(
                before=flip["before"],
                after=flip["after"],
                tool=flip["tool"],
                agent_id=flip["agent_id"],
                currency=flip["currency"],
            )
            tally.flips[name] = (flip["count"], int(flip["minor_units"]))
        return ShadowCount(str(row["seen"]), row["updated_at"], tally)

    async def advance(
        self, revision: int, *, seen: str, last: str, tally: Tally
    ) -> bool:
        """Add what was found between two ids; False if another replica was faster."""
        done: bool = await self._database.value(
            "SELECT shadow_advance($1, $2, $3, $4, $5, $6)",
            revision,
            seen,
            last,
            tally.replayed,
            tally.left_out.total(),
            to_json(tally)["flips"],
        )
        return done

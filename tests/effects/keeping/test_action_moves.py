"""SQL and core know the same moves of an action."""

from __future__ import annotations

import asyncpg

from broker.core.words.action import ENDED, MOVES, ActionState


async def test_sql_allows_the_moves_of_core_and_no_other(pg_dsn) -> None:
    owner = await asyncpg.connect(pg_dsn)
    try:
        rows = await owner.fetch("SELECT old, new FROM action_move")
        allowed = {
            (old, new)
            for old in ActionState
            for new in ActionState
            if await owner.fetchval("SELECT action_may($1, $2)", old.value, new.value)
        }
    finally:
        await owner.close()
    moves = {(old, new) for old, goals in MOVES.items() for new in goals}
    assert {(row["old"], row["new"]) for row in rows} == moves
    assert allowed == moves
    assert not {old for old, _ in allowed} & ENDED

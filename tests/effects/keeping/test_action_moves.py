"""SQL and core know the same moves of an action, and of an approval."""

from __future__ import annotations

import asyncpg

from broker.core.words import approval
from broker.core.words.action import ENDED, MOVES, ActionState
from broker.core.words.approval import ApprovalState
from tests.support.approvals.voters import large_refund
from tests.support.flow.house import open_house
from tests.support.flow.template import pg_template

__all__ = ["pg_template"]


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


async def test_sql_lets_an_approval_move_as_core_does_and_not_otherwise(
    pg_broker_dsn: str, pg_dsn: str
) -> None:
    async with open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house:
        record = await large_refund(house)
        async with house.admin() as owner:
            rows = await owner.fetch("SELECT old, new FROM approval_move")
            moved = {
                (old, new)
                for old in ApprovalState
                for new in ApprovalState
                if old is not new and await _moves(owner, record.approval_id, old, new)
            }
    moves = {(old, new) for old, goals in approval.MOVES.items() for new in goals}
    assert {(row["old"], row["new"]) for row in rows} == moves
    assert moved == moves


async def _moves(
    owner: asyncpg.Connection[asyncpg.Record], approval_id: str, old: str, new: str
) -> bool:
    """Return whether an approval goes from one state to the other; undo it."""
    update = "UPDATE approval SET state = $2 WHERE approval_id = $1"
    trial = owner.transaction()
    await trial.start()
    try:
        await owner.execute("ALTER TABLE approval DISABLE TRIGGER approval_moves")
        await owner.execute(update, approval_id, str(old))
        await owner.execute("ALTER TABLE approval ENABLE TRIGGER approval_moves")
        await owner.execute(update, approval_id, str(new))
    except asyncpg.ObjectNotInPrerequisiteStateError:
        return False
    else:
        return True
    finally:
        await trial.rollback()

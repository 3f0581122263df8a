"""The first tables: authority, log, budgets, edge, actions.

The SQL stands in files, one per room, because it holds functions that are read and
reviewed as SQL. No file is changed after a release; a later revision brings its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).resolve().parents[1] / "sql"
_FILES = (
    "audit.sql",
    "authority.sql",
    "budgets.sql",
    "edge.sql",
    "actions.sql",
    "reads.sql",
    "approvals.sql",
    "policy.sql",
    "restore.sql",
    "console.sql",
    "keys.sql",
    "simulated.sql",
    "views.sql",
    "notices.sql",
    "canaries.sql",
)


def upgrade() -> None:
    """Run the files in order; they are scripts, so they go past the statement cache."""
    adapted: Any = op.get_bind().connection.dbapi_connection
    for name in _FILES:
        script = (_SQL / name).read_text(encoding="utf-8")
        adapted.run_async(_executed(script))


def _executed(script: str) -> Any:  # noqa: ANN401
    async def run(connection: Any) -> None:  # noqa: ANN401
        await connection.execute(script)

    return run


def downgrade() -> None:
    """Refuse: a log that can be taken back is none."""
    msg = "the first revision cannot be taken back; restore a backup instead"
    raise NotImplementedError(msg)

"""What the broker says to Temporal: names and one id, and nothing about anybody.

Temporal keeps time. Whoever reaches it can start, squat, end or tell a run: so a run
is only ever a reason to look, and what it looks at is the signed rows.
"""

from __future__ import annotations

from typing import Final

WORKFLOW: Final = "approval"
"""Workflow type; its id and its only input are the approval's id."""

TELL: Final = "tell"
"""The update that says: something happened, look again. Its id is the message's id."""

TOLD_MAX: Final = 200
"""How many messages one run takes in; a flood beyond it is refused unrecorded."""

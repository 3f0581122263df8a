"""The life of an approval as a diagram, drawn from the tables that decide it.

docs/approvals.md shows it; a test compares the page with what is drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.words import action
from broker.core.words.action import ActionState
from broker.core.words.approval import MOVES, ApprovalState

if TYPE_CHECKING:
    from collections.abc import Iterator

_AFTER_A_YES = frozenset(
    {ActionState.READY, ActionState.EXECUTING, ActionState.UNKNOWN}
)


def diagram() -> str:
    """Return a state diagram in Mermaid's language: approval, then its action.

    The upper half are the moves of an approval with their causes; ``approved`` holds
    the moves that its action makes from then on.
    """
    return "\n".join(["stateDiagram-v2", *_approval(), *_action()]) + "\n"


def _approval() -> Iterator[str]:
    yield f"    [*] --> {ApprovalState.PENDING.value}: a policy wants a signature"
    for old, goals in MOVES.items():
        for new, cause in goals.items():
            yield f"    {old.value} --> {new.value}: {cause}"
    for state in ApprovalState:
        if state not in MOVES:
            yield f"    {state.value} --> [*]"


def _action() -> Iterator[str]:
    yield f"    state {ApprovalState.APPROVED.value} {{"
    yield f"        [*] --> {ActionState.READY.value}"
    for old in ActionState:
        if old not in _AFTER_A_YES:
            continue
        for new in ActionState:
            # Being asked again is the approval's move to stale.
            asked_again = new is ActionState.PENDING_APPROVAL
            if action.may_move(old, new) and not asked_again:
                yield f"        {old.value} --> {new.value}"
    yield "    }"

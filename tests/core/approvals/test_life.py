"""docs/approvals.md draws the life of an approval as the code's own tables have it.

LIFE_WRITE=1 writes the diagram into the page; without it the two are compared.
"""

from __future__ import annotations

import os
import re

from broker.core.approvals.life import diagram
from broker.core.words import action
from broker.core.words.approval import MOVES
from tests.support.source import TOP

PAGE = TOP / "docs" / "approvals.md"
BLOCK = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def test_the_page_shows_the_diagram_that_the_tables_give() -> None:
    text = PAGE.read_text(encoding="utf-8")
    drawn = f"```mermaid\n{diagram()}```"
    if os.environ.get("LIFE_WRITE"):
        text = BLOCK.sub(lambda _: drawn, text)
        PAGE.write_text(text, encoding="utf-8")
    assert BLOCK.findall(text) == [drawn]


def test_every_move_is_drawn_once() -> None:
    lines = diagram().splitlines()
    assert len(lines) == len({*lines})
    for old, goals in MOVES.items():
        for new, cause in goals.items():
            assert f"    {old.value} --> {new.value}: {cause}" in lines
    for name in ("ready", "executing", "unknown"):
        for state in action.MOVES[action.ActionState(name)] - {"pending_approval"}:
            assert f"        {name} --> {state.value}" in lines

"""Keep tests that share something dear on one worker, as their xdist_group says.

xdist 3.8 hands the group to its scheduler in a node's private id, which pytest 9.2 has
no more: `--dist loadgroup` groups nothing then, and says nothing. Here the group is
read from where it is written, the module's `pytestmark`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling

ROOT: Final = Path(__file__).parents[3]
_MARK: Final = re.compile(r'^pytestmark = .*xdist_group\("(\w+)"\)', re.MULTILINE)


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """One unit of work for each group, and one for each test that is in none."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(path: str) -> str:
    """Return the group of a test file, empty if it names none."""
    named = _MARK.search((ROOT / path).read_text("utf-8"))
    return named.group(1) if named else ""

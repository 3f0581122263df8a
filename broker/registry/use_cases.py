"""Use cases: what agents are for, who answers for it, and how long data is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.effect import tier_reached
from broker.core.words.labels import Grade
from broker.registry.reading import (
    RowError,
    items,
    number,
    only,
    person_name,
    text,
    uuid,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.words.effect import Tier
    from broker.core.words.tool import Tool
    from broker.registry.authority import AuthorityRow

RETENTION_DAYS_MAX: Final = 36_525

_FIELDS = frozenset({"name", "owner", "purpose", "tools", "retention_days", "release"})


@dataclass(frozen=True, slots=True)
class UseCaseRow:
    """What the newest signed row of a use case says.

    ``release`` names what runs (prompt, model, tools ...), ``release_grade`` how that
    is known.
    """

    use_case: str
    revision: int
    name: str
    owner: str
    purpose: str
    tools: frozenset[str]
    retention_days: int
    release: str
    release_grade: Grade

    def tier(self, tools: Iterable[Tool]) -> Tier:
        """Return the highest tier that this use case can reach with its tools.

        Computed from what the manifests declare and stored nowhere: nobody sets it. A
        tool of its list that is not among ``tools`` counts as the worst there is.
        """
        effects = {tool.name: tool.effect for tool in tools}
        return tier_reached(effects.get(name) for name in self.tools)


def parse_use_case(row: AuthorityRow) -> UseCaseRow:
    """Read a use case out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    release = body.get("release")
    if not isinstance(release, dict):
        msg = "release is no object"
        raise RowError(msg)
    only(release, {"id", "grade"})
    return UseCaseRow(
        use_case=row.row_id,
        revision=row.revision,
        name=person_name(body),
        owner=uuid(body, "owner"),
        purpose=text(body, "purpose"),
        tools=frozenset(items(body, "tools")),
        retention_days=number(body, "retention_days", low=1, high=RETENTION_DAYS_MAX),
        release=text(release, "id", empty=True),
        release_grade=Grade(word(release, "grade", {*Grade})),
    )


def use_case_body(use_case: UseCaseRow) -> dict[str, Any]:
    """Return the body that `parse_use_case` reads."""
    return {
        "name": use_case.name,
        "owner": use_case.owner,
        "purpose": use_case.purpose,
        "tools": sorted(use_case.tools),
        "retention_days": use_case.retention_days,
        "release": {
            "id": use_case.release,
            "grade": use_case.release_grade.value,
        },
    }

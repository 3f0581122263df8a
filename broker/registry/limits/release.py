"""Releases of frozen budgets: signed, so that a row of a table lets nothing through.

A budget that was frozen counts how often. A release says, for each of its windows, up
to which one a person has looked; without such a row, or with one that does not say
enough, the budget stays frozen whatever its own row says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker.core.words.moment import write_moment
from broker.registry.reading import RowError, number, only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.budget import BudgetKey, Total
    from broker.registry.authority import AuthorityRow

RELEASE_KIND: Final = "budget_release"
RELEASED_WINDOWS_MAX: Final = 64
"""Most windows of one budget that a release speaks of: the newest."""

FREEZES_MAX: Final = 2**31 - 1
"""Most freezes of one window that a release can speak of."""


def parse_release(row: AuthorityRow) -> Mapping[str, int]:
    """Return up to which freeze each window was released, by its start.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    only(row.body, {"windows"})
    windows = row.body.get("windows")
    if not isinstance(windows, dict) or len(windows) > RELEASED_WINDOWS_MAX:
        msg = f"windows are not up to {RELEASED_WINDOWS_MAX} by their start"
        raise RowError(msg)
    return {since: number(windows, since, low=1, high=FREEZES_MAX) for since in windows}


def release_body(
    before: Mapping[str, int], now: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Return the body that `parse_release` reads, with the newest windows of both."""
    windows = {**before, **now}
    newest = sorted(windows)[-RELEASED_WINDOWS_MAX:]
    return {"windows": {since: windows[since] for since in newest}}


def in_doubt(totals: Mapping[BudgetKey, Total]) -> frozenset[str]:
    """Return the budgets that were frozen, and are said not to be any more."""
    return frozenset(
        key[0] for key, one in totals.items() if one.freezes and not one.frozen
    )


def unreleased(
    totals: Mapping[BudgetKey, Total], released: Mapping[str, Mapping[str, int]]
) -> dict[BudgetKey, Total]:
    """Return the totals; what nobody signed for is frozen still."""
    # Hardly one was ever frozen, and every decision comes by here.
    return {
        key: one
        if one.frozen or not one.freezes
        else replace(one, frozen=one.freezes > _signed_for(key, released))
        for key, one in totals.items()
    }


def _signed_for(key: BudgetKey, released: Mapping[str, Mapping[str, int]]) -> int:
    """Return up to which freeze of a window somebody has looked, 0 if to none."""
    budget_id, since = key
    return released.get(budget_id, {}).get(write_moment(since), 0)

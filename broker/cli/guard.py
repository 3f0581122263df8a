"""Refuse to start where another distribution owns one of our import names."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN_NAMES = ("broker", "tools", "workflows", "infra")
OWN_DISTRIBUTION = "counterfoil"


def foreign_owners(
    installed: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Return which of our import names belong to somebody else's distribution.

    All of them are taken on the package index. Beside such a distribution an import
    could give its module instead of ours, in a process that holds keys.

    Args:
        installed: Import name to the distributions that install it; by default what
            is installed in the running environment.

    Returns:
        Import name to the names of its foreign distributions, sorted; empty if the
        environment is ours alone.

    Source: docs/adr/0003-import-names-and-application-packaging.md.
    """
    owners = packages_distributions() if installed is None else installed
    found = {
        name: tuple(sorted({*owners.get(name, ())} - {OWN_DISTRIBUTION}))
        for name in OWN_NAMES
    }
    return {name: others for name, others in found.items() if others}


def ownership_problem(owners: Mapping[str, Sequence[str]]) -> str:
    """Return the one line to print before exiting; empty if nobody owns our names."""
    if not owners:
        return ""
    taken = "; ".join(
        f"{name} by {', '.join(others)}" for name, others in sorted(owners.items())
    )
    return (
        f"import names are taken: {taken}. Counterfoil runs in an environment of its "
        "own (make up makes one); agent frameworks stay clients in theirs."
    )

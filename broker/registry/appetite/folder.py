"""A policy folder's texts become the body of a policy row: what decides, and sources.

``appetite.toml`` is the company's table, ``use_cases/NAME.toml`` narrow it,
``*.cedar`` say what a table cannot, ``limits.toml`` holds rates, budgets, totals and
the quorum of a hold, ``tests.toml`` what must come out. The same texts always give the
same body.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.registry.appetite.cedar import compile_tables
from broker.registry.appetite.reading import read_table
from broker.registry.policy.cedar_text import PolicyError, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.registry.appetite.words import Table

APPETITE: Final = "appetite.toml"
LIMITS: Final = "limits.toml"
TESTS: Final = "tests.toml"
USE_CASES: Final = "use_cases/"
USE_CASES_MAX: Final = 32
SOURCES_BYTES_MAX: Final = 262_144
"""Most bytes of all files of a folder together."""

_LIMITS_FIELDS = frozenset({"hold", "rates", "budgets", "totals", "votes"})
_TOTAL_FIELDS = frozenset({"id", "per", "unit", "window", "tools"})


@dataclass(frozen=True, slots=True)
class Folder:
    """What a policy folder says, read and not yet checked against the tools."""

    sources: Mapping[str, str]
    tables: tuple[Table, ...]
    limits: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """Return the body of a policy row, but for version, author and approver."""
        budgets = [*self.limits.get("budgets", []), *_watched(self.limits)]
        return {
            "cedar": self.cedar(),
            "hold": self.limits.get("hold", {}),
            "rates": self.limits.get("rates", []),
            "budgets": budgets,
            "votes": self.limits.get("votes", {}),
            "owners": {table.scope: table.owner for table in self.tables},
            "sources": dict(self.sources),
        }

    def cedar(self) -> str:
        """Return all rules: those of the tables, then those written by hand."""
        written = [
            f"// {name}\n{text.strip()}\n"
            for name, text in sorted(self.sources.items())
            if name.endswith(".cedar")
        ]
        return "\n".join([compile_tables(self.tables), *written])


def read_sources(sources: Mapping[str, str]) -> Folder:
    """Return what the texts of a folder say.

    Args:
        sources: Text by its path below the folder.

    Raises:
        PolicyError: a file is missing, unknown, too long or wrong; it names the line.
    """
    if sum(len(text.encode()) for text in sources.values()) > SOURCES_BYTES_MAX:
        msg = f"the files are longer than {SOURCES_BYTES_MAX} bytes together"
        raise PolicyError(msg)
    for name in (APPETITE, LIMITS):
        if name not in sources:
            msg = f"there is no {name}"
            raise PolicyError(msg)
    tables = [read_table(sources[APPETITE], file=APPETITE)]
    for name in sorted(sources):
        if name.endswith(".cedar") and "/" not in name:
            check_text(sources[name], name=name)
        elif name.startswith(USE_CASES) and name.endswith(".toml"):
            scope = name.removeprefix(USE_CASES).removesuffix(".toml")
            tables.append(read_table(sources[name], file=name, scope=scope))
        elif name not in {APPETITE, LIMITS, TESTS}:
            msg = f"{name} has no place in a policy folder"
            raise PolicyError(msg)
    if len(tables) > USE_CASES_MAX + 1:
        msg = f"more than {USE_CASES_MAX} use cases"
        raise PolicyError(msg)
    limits = _limits(sources[LIMITS])
    _check_totals(tables, limits)
    return Folder(dict(sorted(sources.items())), tuple(tables), limits)


def _limits(text: str) -> Mapping[str, Any]:
    try:
        limits = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{LIMITS}: {error}"
        raise PolicyError(msg) from error
    unknown = sorted(limits.keys() - _LIMITS_FIELDS)
    if unknown:
        msg = f"{LIMITS}: {unknown[0]} is not known here"
        raise PolicyError(msg)
    if not isinstance(limits.get("votes", {}), dict):
        msg = f"{LIMITS}: votes is written as [votes]"
        raise PolicyError(msg)
    for kind in ("rates", "budgets", "totals"):
        rules = limits.get(kind, [])
        if not isinstance(rules, list) or not all(isinstance(r, dict) for r in rules):
            msg = f"{LIMITS}: {kind} are written as [[{kind}]]"
            raise PolicyError(msg)
    return limits


def _watched(limits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the totals that rules look at, as budgets that nothing fills."""
    found = []
    for total in limits.get("totals", []):
        unknown = sorted(total.keys() - _TOTAL_FIELDS)
        if unknown:
            msg = f"{LIMITS}: a total has no {unknown[0]}; a budget may have"
            raise PolicyError(msg)
        found.append({**total, "limit": AMOUNT_MINOR_UNITS_MAX})
    return found


def _check_totals(tables: list[Table], limits: Mapping[str, Any]) -> None:
    units = {
        rule.get("id"): rule.get("unit")
        for kind in ("budgets", "totals")
        for rule in limits.get(kind, [])
    }
    for table in tables:
        for row in table.rows:
            if row.ceiling is None:
                continue
            unit = units.get(row.ceiling.total)
            counts = isinstance(unit, str) and not is_currency(unit)
            if unit is None or counts is not row.ceiling.counts:
                kind = "a number of actions" if row.ceiling.counts else "an amount"
                msg = (
                    f"{table.file} line {row.line}, row {row.clause}: {LIMITS} has no"
                    f" budget or total {row.ceiling.total!r} that counts {kind}"
                )
                raise PolicyError(msg)

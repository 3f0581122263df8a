"""Check a policy folder as it has to be before anybody may publish it.

What the broker reads at decision time is checked again there; here everything is
refused that would be read but not do what its author believes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import cedarpy

from broker.core.words.effect import Effect, Tier, tier_reached
from broker.registry.appetite import given
from broker.registry.appetite.approvable import check_approvable
from broker.registry.appetite.cedar import UNSIGNED, rule_id
from broker.registry.appetite.folder import TESTS, read_sources
from broker.registry.appetite.narrows import (
    cells_of,
    check_narrows,
    check_roles,
    covers,
)
from broker.registry.appetite.words import GRANTING, Then
from broker.registry.people import Role
from broker.registry.policy.books import approvals_per_hour, limits_of, rule_book
from broker.registry.policy.cedar_text import PolicyError, lines_of_rules, split_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.authorize import RuleBook
    from broker.core.words.budget import BudgetRule, RateRule
    from broker.core.words.tool import Tool
    from broker.registry.appetite.folder import Folder
    from broker.registry.appetite.given import Result
    from broker.registry.appetite.words import Row, Table

_ACTION = re.compile(r'Action::"((?:[^"\\]|\\.)*)"')
_NOT_OURS = (
    "a policy rules what agents ask for; the kill switch, approvals and everything else"
    " that people do does not pass through it"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy folder that may be published, and what its tests gave.

    ``tiers`` are what each table leaves reachable, by its scope; ``places`` where each
    rule was written, by its ``@id``.
    """

    folder: Folder
    book: RuleBook
    rates: tuple[RateRule, ...]
    budgets: tuple[BudgetRule, ...]
    tiers: Mapping[str, Tier]
    places: Mapping[str, str]
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Return whether every test gave what it expects."""
        return not any(result.problem for result in self.results)


def check_sources(sources: Mapping[str, str], tools: Sequence[Tool]) -> Checked:
    """Compile a folder's texts, validate them strictly, and run their tests.

    Args:
        sources: Text by its path below the folder.
        tools: Every tool that is loaded.

    Raises:
        PolicyError: it may not be published; with line and reason. A test that gives
            something else than it expects is a result, and no error.
    """
    folder = read_sources(sources)
    _check_tables(folder, tools)
    for name, text in folder.sources.items():
        if name.endswith(".cedar"):
            _check_file(name, text, tools)
    body = folder.body()
    places = _places(folder)
    rates, budgets = limits_of(body)
    approvals_per_hour(body)
    try:
        book = rule_book({"version": 1, **body}, tools)
    except PolicyError as error:
        if error.rule in places:
            msg = f"{places[error.rule]}: {error}"
            raise PolicyError(msg) from error
        raise
    _check_roles_exist(book, places)
    check_approvable(folder.cedar(), book, tools, places)
    tests = given.read_tests(
        folder.sources.get(TESTS, ""),
        file=TESTS,
        tools=tools,
        totals={rule.rule_id: rule.unit for rule in budgets},
    )
    tiers = {table.scope: _tier(table, folder, tools) for table in folder.tables}
    results = given.run(tests, book)
    return Checked(folder, book, rates, budgets, tiers, places, results)


def _tier(table: Table, folder: Folder, tools: Sequence[Tool]) -> Tier:
    """Return the highest tier that rows let anybody of this scope reach."""
    company = folder.tables[0]
    granted = [row for row in company.rows if row.then in GRANTING]
    own = [row for row in table.rows if row.then in GRANTING]
    reached: list[Effect] = []
    for cell in cells_of((company, table), tools):
        banned = any(
            row.then is Then.BAN and covers(row, cell) and _plain(row)
            for row in (*company.rows, *table.rows)
        )
        named = any(covers(row, cell) for row in own) or not table.closed
        if named and not banned and any(covers(row, cell) for row in granted):
            reached.append(cell.tool.effect)
    return tier_reached(reached)


def _plain(row: Row) -> bool:
    return not (
        row.topics
        or row.customer_flags
        or row.findings
        or row.verification
        or row.verification_below
        or row.ceiling
    )


def _check_tables(folder: Folder, tools: Sequence[Tool]) -> None:
    known = {tool.name: tool for tool in tools}
    for table in folder.tables:
        for row in table.rows:
            for name in sorted(row.tools):
                if name not in known:
                    _refuse(table, row, f"there is no tool {name}: {_NOT_OURS}")
                if row.then is Then.ALLOW and known[name].tier is Tier.CONSEQUENTIAL:
                    text = f"no rule alone permits {name}: say approve, and who signs"
                    _refuse(table, row, text)
    company, *use_cases = folder.tables
    check_roles((company,), tools)
    for table in use_cases:
        check_narrows(company, table, tools)
        check_roles((company, table), tools)


def _check_file(name: str, text: str, tools: Sequence[Tool]) -> None:
    known = {tool.name for tool in tools} | {effect.value for effect in Effect}
    for rule, line in split_rules(text):
        try:
            cedarpy.PolicySet.from_str(rule)
        except ValueError as error:
            msg = f"{name} line {line}: this rule does not parse: {error}"
            raise PolicyError(msg) from error
        for action in _ACTION.findall(rule):
            if action not in known:
                msg = (
                    f"{name} line {line}: {action!r} is neither a tool nor an effect:"
                    f" {_NOT_OURS}"
                )
                raise PolicyError(msg)


def _places(folder: Folder) -> dict[str, str]:
    """Return where each rule was written."""
    found: dict[str, str] = {}
    for table in folder.tables:
        found[rule_id(table, "currency")] = table.file
        found[rule_id(table, "otherwise")] = table.file
        for row in table.rows:
            name = rule_id(table, row.clause)
            place = f"{table.file} line {row.line}"
            found |= {name: place, f"{name}.{UNSIGNED}": place}
    for name, text in folder.sources.items():
        if name.endswith(".cedar"):
            lines = lines_of_rules(text)
            found |= {rule: f"{name} line {line}" for rule, line in lines.items()}
    return found


def _check_roles_exist(book: RuleBook, places: Mapping[str, str]) -> None:
    roles = {*Role}
    if book.hold.role not in roles:
        msg = f"limits.toml, hold: nobody can have the role {book.hold.role!r}"
        raise PolicyError(msg)
    for rule in book.rules.values():
        if rule.quorum is None:
            continue
        for role in (rule.quorum.role, *(rung.role for rung in rule.quorum.ladder)):
            if role not in roles:
                place = places.get(rule.rule_id, rule.rule_id)
                msg = (
                    f"{place}: nobody can have the role {role!r}, so nobody could ever"
                    " approve"
                )
                raise PolicyError(msg)


def _refuse(table: Table, row: Row, problem: str) -> NoReturn:
    msg = f"{table.file} line {row.line}, row {row.clause}: {problem}"
    raise PolicyError(msg)

"""A use case's table only narrows the company's; a row that says more is refused.

Nothing that is compiled from a use case's table can permit, so no row of it takes
effect beyond the company's. A row that reads as if it did is refused all the same: who
reads the table must be able to believe it.

Rows that grant are compared cell by cell: tool, channel, currency, band of amounts.
In each cell that such a row covers, the company must grant too, and no row of the
company that applies to all that this row applies to may be stricter. Rows of the
company with a circumstance of their own (a topic, a flag, a finding, a running total)
come on top of every use case, and count only if the row names that circumstance too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.words.money import Money
from broker.registry.appetite.words import GRANTING, Row, Table, Then
from broker.registry.policy.cedar_text import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.words.decision import Quorum
    from broker.core.words.tool import Tool

ELSEWHERE: Final = "*"
"""Stands for every channel, or currency, that no row names."""


CELLS_MAX: Final = 20_000
"""Most kinds of requests that one comparison of tables looks at."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of request: no row of either table divides it further."""

    tool: Tool
    channel: str
    currency: str
    amount: int


def check_narrows(company: Table, use_case: Table, tools: Sequence[Tool]) -> None:
    """Refuse a row of a use case that says more than the company does.

    Raises:
        PolicyError: with the row's line, and the company's row that it goes beyond.
    """
    cells = cells_of((company, use_case), tools)
    for row in use_case.rows:
        for cell in cells:
            if row.then in GRANTING and covers(row, cell):
                _compare(company, use_case, row, cell)


def check_roles(tables: Sequence[Table], tools: Sequence[Tool]) -> None:
    """Refuse two rows that one request can fit and that ask for different roles.

    Raises:
        PolicyError: with the line of the later row. A question to people has one role.
    """
    asking = [
        (table, row) for table in tables for row in table.rows if row.quorum is not None
    ]
    for cell in cells_of(tables, tools):
        first: tuple[Table, Row] | None = None
        for table, row in asking:
            if not covers(row, cell) or row.quorum is None:
                continue
            if first is None:
                first = (table, row)
            elif first[1].quorum and first[1].quorum.role != row.quorum.role:
                msg = (
                    f"{table.file} line {row.line}, row {row.clause}: it asks for"
                    f" {row.quorum.role} and row {first[1].clause} of {first[0].file}"
                    f" for {first[1].quorum.role}, and both fit {_shown(cell)}"
                )
                raise PolicyError(msg)


def cells_of(tables: Iterable[Table], tools: Sequence[Tool]) -> tuple[Cell, ...]:
    """Return a request for each kind that these tables tell apart.

    Raises:
        PolicyError: there are more than CELLS_MAX.
    """
    rows = [row for table in tables for row in table.rows]
    channels = {ELSEWHERE}.union(*(row.channels for row in rows))
    currencies = {ELSEWHERE} | {row.currency for row in rows} - {""}
    edges = {row.amount_above for row in rows} | {row.amount_upto for row in rows}
    amounts = (
        {1}
        | {edge for edge in edges if edge}
        | {edge + 1 for edge in edges if edge is not None}
    )
    told_apart = _told_apart(rows, tools)
    many = len(told_apart) * len(channels) * len(currencies) * len(amounts)
    if many > CELLS_MAX:
        msg = (
            f"the tables tell {many} kinds of requests apart, more than {CELLS_MAX}:"
            " name fewer channels, tools or amounts"
        )
        raise PolicyError(msg)
    return tuple(
        Cell(tool, channel, currency, amount)
        for tool in told_apart
        for channel in sorted(channels)
        for currency, amount in (
            [(c, a) for c in sorted(currencies) for a in sorted(amounts)]
            if tool.binding.amount
            else [("", 0)]
        )
    )


def _told_apart(rows: Sequence[Row], tools: Sequence[Tool]) -> list[Tool]:
    """Return the tools that rows name, and of the others one for each effect."""
    named = {name for row in rows for name in row.tools}
    kinds = {
        (
            tool.name if tool.name in named else "",
            tool.effect,
            bool(tool.binding.amount),
        ): tool
        for tool in tools
    }
    return list(kinds.values())


def covers(row: Row, cell: Cell) -> bool:
    """Return whether a row speaks of this kind of request, circumstances aside."""
    reaches = cell.tool.name in row.tools or cell.tool.effect in row.effects
    return (
        reaches
        and (not row.channels or cell.channel in row.channels)
        and (not row.currency or cell.currency == row.currency)
        and (row.amount_above is None or cell.amount > row.amount_above)
        and (row.amount_upto is None or cell.amount <= row.amount_upto)
    )


def _compare(company: Table, use_case: Table, row: Row, cell: Cell) -> None:
    theirs = [
        one for one in company.rows if covers(one, cell) and _applies_wherever(one, row)
    ]
    for one in theirs:
        if _stricter(one, row):
            says = f"the company's {one.clause} says {_says(one)} for {_shown(cell)}"
            _refuse(use_case, row, says)
    if not any(one.then in GRANTING for one in theirs):
        _refuse(use_case, row, f"the company grants nothing for {_shown(cell)}")


def _applies_wherever(company: Row, row: Row) -> bool:
    """Return whether a company row fits all that another row fits within its cells."""
    for theirs, own in (
        (company.topics, row.topics),
        (company.customer_flags, row.customer_flags),
        (company.findings, row.findings),
    ):
        if theirs and not (own and own <= theirs):
            return False
    # The level that a grant needs is no such circumstance: below it nothing is granted.
    return company.ceiling is None and not company.verification_below


def _stricter(company: Row, row: Row) -> bool:
    """Return whether the company's row is not matched in strictness."""
    if company.then is Then.BAN:
        return True
    if company.quorum is None:
        return False
    if row.quorum is None:
        return True
    return not _as_strict(row.quorum, company.quorum) or (
        row.standing and not company.standing
    )


def _as_strict(quorum: Quorum, than: Quorum) -> bool:
    return (
        quorum.approvers_min >= than.approvers_min
        and quorum.role == than.role
        and quorum.expires_s <= than.expires_s
        and quorum.customer >= than.customer
        and _passes_on_less(quorum, than)
    )


def _passes_on_less(quorum: Quorum, than: Quorum) -> bool:
    """Return whether nobody may sign who could not sign, or not yet, otherwise."""
    theirs = {rung.role: rung.after_s for rung in than.ladder}
    return all(
        rung.role in theirs and rung.after_s >= theirs[rung.role]
        for rung in quorum.ladder
    )


def _says(row: Row) -> str:
    if row.quorum is None:
        return row.then.value
    many = row.quorum.approvers_min
    standing = " or a standing approval" if row.standing else ""
    later = "".join(f", {r.role} after {r.after_s} s" for r in row.quorum.ladder)
    role, within_s = row.quorum.role, row.quorum.expires_s
    level = row.quorum.customer
    confirms = f" and the customer, known at level {level}" if level else ""
    return f"{many} of role {role}{confirms} within {within_s} s{later}{standing}"


def _shown(cell: Cell) -> str:
    parts = [cell.tool.name]
    if cell.currency not in {"", ELSEWHERE}:
        parts.append(f"of {Money(cell.amount, cell.currency)}")
    elif cell.currency == ELSEWHERE:
        parts.append("in another currency")
    if cell.channel != ELSEWHERE:
        parts.append(f"on {cell.channel}")
    return " ".join(parts)


def _refuse(table: Table, row: Row, problem: str) -> None:
    msg = (
        f"{table.file} line {row.line}, row {row.clause}: this row would widen the"
        f" company's appetite: {problem}"
    )
    raise PolicyError(msg)

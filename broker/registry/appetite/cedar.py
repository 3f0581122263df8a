"""Compile appetite tables into Cedar that a person can read.

An ``allow`` row becomes a permit. An ``approve`` row becomes a permit that waits for a
signature, and a forbid of what is not signed: without it a row that allows would speak
louder than one that asks for a person. ``person`` becomes that forbid alone, ``ban`` a
forbid. In a use case's table nothing becomes a permit, so that whatever stands there
can only take away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.words.subject import VerificationLevel
from broker.registry.appetite.words import GRANTING, Row, Table, Then
from broker.registry.policy.cedar_text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNSIGNED: Final = "unsigned"
"""Ends the id of the rule that forbids what nobody has signed yet."""

_LINE_CHARS = 88


def compile_tables(tables: Iterable[Table]) -> str:
    """Return the Cedar text of the company's table and those of its use cases."""
    return "\n".join(rule for table in tables for rule in _table(table))


def rule_id(table: Table, clause: str) -> str:
    """Return the ``@id`` of the rule that a row becomes."""
    return f"{table.scope}.{clause}"


def _table(table: Table) -> Iterator[str]:
    for row in table.rows:
        yield from _row(table, row)
    if table.company:
        currencies = sorted({row.currency for row in table.rows} - {""})
        if currencies:
            yield _currencies(table, currencies)
    elif table.closed:
        yield _closed(table)


def _row(table: Table, row: Row) -> Iterator[str]:
    name, where = rule_id(table, row.clause), _conditions(table, row)
    signed = _signed(row)
    match row.then:
        case Then.ALLOW:
            if table.company:
                yield _rule(table, row, name, "permit", where)
        case Then.APPROVE | Then.PERSON:
            if table.company and row.then is Then.APPROVE:
                yield _rule(table, row, name, "permit", [*where, signed])
            unsigned = [*where, f"!{signed}"]
            yield _rule(table, row, f"{name}.{UNSIGNED}", "forbid", unsigned)
        case Then.BAN:
            yield _rule(table, row, name, "forbid", where)


def _signed(row: Row) -> str:
    if row.standing:
        return "(context.approved || context.standing)"
    return "context.approved"


def _rule(table: Table, row: Row, name: str, effect: str, conditions: list[str]) -> str:
    notes = [f"@id({quoted(name)})", f"@clause({quoted(row.clause)})"]
    if row.quorum is not None:
        notes += [
            f'@approvers("{row.quorum.approvers_min}")',
            f"@role({quoted(row.quorum.role)})",
            f'@expires_s("{row.quorum.expires_s}")',
        ]
        if row.quorum.remind_s:
            notes.append(f'@remind_s("{row.quorum.remind_s}")')
        if row.quorum.ladder:
            ladder = " ".join(f"{r.role}:{r.after_s}" for r in row.quorum.ladder)
            notes.append(f"@escalate({quoted(ladder)})")
        if row.quorum.customer:
            level = VerificationLevel(row.quorum.customer).name.lower()
            notes.append(f"@customer_confirms({quoted(level)})")
    lines = [
        f"// {table.file} line {row.line}",
        " ".join(notes),
        f"@text({quoted(row.text)})",
        f"{effect} (principal, {_actions(row)}, resource)",
    ]
    if not conditions:
        return "\n".join(lines) + ";\n"
    return "\n".join([*lines, _when(conditions)]) + "\n"


def _when(conditions: list[str]) -> str:
    inside = " &&\n".join(f"  {condition}" for condition in conditions)
    return f"when {{\n{inside}\n}};"


def _actions(row: Row) -> str:
    names = sorted(row.tools) or sorted(effect.value for effect in row.effects)
    actions = [f"Action::{quoted(name)}" for name in names]
    if len(actions) == 1:
        return f"action {'==' if row.tools else 'in'} {actions[0]}"
    return f"action in [{', '.join(actions)}]"


def _conditions(table: Table, row: Row) -> list[str]:
    found = [] if table.company else [f"principal.use_case == {quoted(table.scope)}"]
    return found + _fits(row)


def _fits(row: Row) -> list[str]:
    found: list[str] = []
    if row.verification:
        found.append("context.customer_bound")
        found.append(f"context.verification >= {row.verification}")
    if row.verification_below:
        found.append(f"context.verification < {row.verification_below}")
    if row.currency:
        found.append(f"context.currency == {quoted(row.currency)}")
    if row.amount_above is not None:
        found.append(f"context.amount > {row.amount_above}")
    if row.amount_upto is not None:
        found.append(f"context.amount <= {row.amount_upto}")
    if row.channels:
        found.append(f"{_set(row.channels)}.contains(context.channel)")
    for name, words in (
        ("topics", row.topics),
        ("customer_flags", row.customer_flags),
        ("findings", row.findings),
    ):
        if words:
            found.append(f"context.{name}.containsAny({_set(words)})")
    if row.ceiling is not None:
        record, more = (
            ("count_within", "1")
            if row.ceiling.counts
            else ("sum_within", "context.amount")
        )
        total = f"context.{record}[{quoted(row.ceiling.total)}]"
        found.append(f"{total} + {more} > {row.ceiling.above}")
    return found


def _set(words: Iterable[str]) -> str:
    return f"[{', '.join(quoted(word) for word in sorted(words))}]"


def _currencies(table: Table, currencies: list[str]) -> str:
    known = _set(["", *currencies])
    return (
        f"// {table.file}: its amounts are in {' and '.join(currencies)}\n"
        f'@id({quoted(rule_id(table, "currency"))}) @clause("currency")\n'
        f"@text({quoted('no amounts in a currency that no row speaks of')})\n"
        "forbid (principal, action, resource)\n"
        f"{_when([f'!{known}.contains(context.currency)'])}\n"
    )


def _closed(table: Table) -> str:
    scope = f"principal.use_case == {quoted(table.scope)}"
    named = [
        " && ".join([_reach(row), *_fits(row)])
        for row in table.rows
        if row.then in GRANTING
    ]
    conditions = [scope]
    if named:
        conditions += [f"!({one})" for one in named]
    return (
        f"// {table.file}: nothing but what its rows name\n"
        f'@id({quoted(rule_id(table, "otherwise"))}) @clause("otherwise")\n'
        f"@text({quoted('this use case does nothing but what its table names')})\n"
        "forbid (principal, action, resource)\n"
        f"{_when(conditions)}\n"
    )


def _reach(row: Row) -> str:
    names = sorted(row.tools) or sorted(effect.value for effect in row.effects)
    actions = ", ".join(f"Action::{quoted(name)}" for name in names)
    return f"action in [{actions}]"

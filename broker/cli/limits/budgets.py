"""Budgets from the command line: what is taken and left, limits, and the log beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)
from broker.client.person import PersonClient
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money, is_currency
from broker.registry.limits.beside import LIMIT_TYP, limit_claims

ID_CHARS_SHOWN = 12
"""Enough to tell budgets apart and to copy; the whole id stands in the JSON."""

NO_LIMIT = "policy"

app = typer.Typer(
    name="budgets",
    help="Budgets: what is taken, what is left, who may take how much.",
    no_args_is_help=True,
)

RuleArgument = Annotated[str, typer.Argument(help="Name of the budget's rule.")]
BudgetArgument = Annotated[
    str, typer.Argument(help="Id of a budget, or its first characters.")
]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``budgets``."""
    parent.add_typer(app)


@app.command("list")
@as_person
def list_(
    at: Desk,
    *,
    rule: Annotated[str, typer.Option(help="Only budgets of this rule.")] = "",
    frozen: Annotated[bool, typer.Option("--frozen", help="Only frozen ones.")] = False,
) -> None:
    """List budgets: posted, held, limit and what is left."""
    query = {"rule": rule} if rule else {}
    query |= {"frozen": "true"} if frozen else {}
    _budgets_table(at, at.run(lambda me: me.budgets(query)))


@app.command()
@as_person
def show(
    at: Desk,
    budget: BudgetArgument,
) -> None:
    """Show the windows of one budget and what was last reserved from it."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        windows = await me.budgets({"budget": budget})
        ids = {row["budget_id"] for row in windows}
        if len(ids) != 1:
            what = "no budget" if not ids else "more than one budget"
            at.fail(f"{what} begins with {budget!r}", code=Exit.NOT_FOUND)
        taken = await me.reservations({"budget": ids.pop()})
        return {"windows": windows, "reservations": taken}

    found = at.run(work)
    if at.as_json:
        at.show(found)
        return
    _budgets_table(at, found["windows"])
    typer.echo("")
    units = {row["budget_id"]: row["unit"] for row in found["windows"]}
    _reservations_table(at, found["reservations"], units)


@app.command()
@as_person
def reservations(
    at: Desk,
    *,
    budget: Annotated[str, typer.Option(help="Only of this budget.")] = "",
    action: Annotated[str, typer.Option(help="Only of this action.")] = "",
    in_state: Annotated[
        str,
        typer.Option("--in", help="Only held, executing, unknown, posted or voided."),
    ] = "",
) -> None:
    """List what actions have reserved, last moved first."""
    asked = {"budget": budget, "action": action, "state": in_state}
    query = {field: value for field, value in asked.items() if value}

    async def work(
        me: PersonClient,
    ) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
        found = list(await me.reservations(query))
        units = {row["budget_id"]: row["unit"] for row in await me.budgets({})}
        return found, units

    found, units = at.run(work)
    _reservations_table(at, found, units)


@app.command()
@as_person
def limits(
    at: Desk,
) -> None:
    """List the limit of each budget by the policy, and what was set beside it."""
    at.table(
        at.run(PersonClient.limits),
        {
            "rule": lambda row: row["rule"],
            "per": lambda row: ", ".join(row["per"]),
            "window": lambda row: row["window"].replace("_", " "),
            "policy": lambda row: _limit(row, "policy"),
            "set": lambda row: "" if row["set"] is None else _limit(row, "set"),
            "in force": lambda row: _limit(row, "limit"),
            "proposed": _proposed,
        },
    )


@app.command("set")
@as_person
def set_(
    at: Desk,
    rule: RuleArgument,
    limit: Annotated[
        str,
        typer.Argument(help=f"Minor units or a count; '{NO_LIMIT}' for the policy's."),
    ],
    *,
    reason: ReasonOption = "",
) -> None:
    """Lower a limit at once, or propose to raise it, signed with your own key.

    Raising takes effect when somebody else signs it (`budgets sign`). No limit goes
    above what the policy says.
    """
    if limit != NO_LIMIT and not limit.isdecimal():
        at.fail(
            f"{limit!r} is no limit",
            hint="write minor units, like 200000 for 2,000.00",
            code=Exit.USAGE,
        )
    wanted = None if limit == NO_LIMIT else int(limit)

    async def work(me: PersonClient) -> Mapping[str, Any]:
        row = _of(at, await me.limits(), rule)
        signature = me.sign(
            limit_claims(
                me.person_id, rule_id=rule, limit=wanted, after=row["revision"]
            ),
            typ=LIMIT_TYP,
        )
        body = {"limit": wanted, "signature": signature, "reason": reason}
        return await me.set_limit(rule, body)

    _report(at, at.run(work))


@app.command()
@as_person
def sign(
    at: Desk,
    rule: RuleArgument,
    limit: Annotated[
        str, typer.Argument(help=f"The proposed limit, or '{NO_LIMIT}': it is signed.")
    ],
    *,
    reason: ReasonOption = "",
) -> None:
    """Sign a raise that somebody else has proposed; then it holds."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        row = _of(at, await me.limits(), rule)
        proposed = row["proposed"]
        if proposed is None:
            at.fail("nobody has proposed another limit", code=Exit.NOT_FOUND)
        named = NO_LIMIT if proposed["limit"] is None else str(proposed["limit"])
        if named != limit:
            at.fail(f"the proposed limit is {named}, not {limit}", code=Exit.USAGE)
        claims = limit_claims(
            me.person_id,
            rule_id=rule,
            limit=proposed["limit"],
            after=proposed["after"],
        )
        body = {"signature": me.sign(claims, typ=LIMIT_TYP), "reason": reason}
        return await me.sign_limit(rule, body)

    _report(at, at.run(work))


@app.command()
@as_person
def release(
    at: Desk,
    budget: BudgetArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why it may admit again.")],
) -> None:
    """Let a frozen budget admit again, after the difference was looked into."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        query = {"budget": budget, "frozen": "true"}
        ids = {row["budget_id"] for row in await me.budgets(query)}
        if len(ids) != 1:
            at.fail(
                f"no frozen budget, or several, begin with {budget!r}",
                hint="`counterfoil budgets list --frozen` lists them",
                code=Exit.NOT_FOUND,
            )
        return await me.release_budget(ids.pop(), reason=reason)

    done = at.run(work)
    at.show(done, lines=[f"{done['rule']} admits again ({done['budget_id']})"])


@app.command()
@as_person
def reconcile(
    at: Desk,
) -> None:
    """Compare every budget with the log's signed entries, and say what differs."""
    found = at.run(PersonClient.reconcile)
    lines = [_difference(one) for one in found["differences"]]
    words = "agree with" if found["agrees"] else "differ from"
    lines.append(f"budgets {words} the log ({found['entries']} entries)")
    at.show(found, lines=lines)
    if not found["agrees"]:
        raise typer.Exit(Exit.FAILED)


def quantity(number: int, unit: str) -> str:
    """Return an amount with its currency, or a bare count."""
    if not is_currency(unit):
        return str(number)
    if number > AMOUNT_MINOR_UNITS_MAX:
        # A sum may outgrow what one amount may be.
        return f"{number} minor units {unit}"
    return str(Money(number, unit))


def _budgets_table(at: Desk, rows: list[Mapping[str, Any]]) -> None:
    def number(field: str) -> Any:  # noqa: ANN401  (a cell)
        return lambda row: quantity(row[field], row["unit"])

    at.table(
        rows,
        {
            "budget": lambda row: row["budget_id"][:ID_CHARS_SHOWN],
            "rule": lambda row: row["rule"],
            "scope": lambda row: ", ".join(f"{k} {v}" for k, v in row["scope"].items()),
            "since": _since,
            "posted": number("posted"),
            "held": number("held"),
            "limit": number("limit"),
            "left": number("left"),
            "": lambda row: ", ".join(
                word for word in ("frozen", "simulated") if row[word]
            ),
        },
    )


def _reservations_table(
    at: Desk, rows: list[Mapping[str, Any]], units: Mapping[str, str]
) -> None:
    def unit(row: Mapping[str, Any]) -> str:
        return units.get(row["budget_id"], "count")

    at.table(
        rows,
        {
            "action": lambda row: row["action_id"],
            "budget": lambda row: row["budget_id"][:ID_CHARS_SHOWN],
            "state": lambda row: row["state"],
            "since": lambda row: row["updated_at"],
            "reserved": lambda row: quantity(row["amount"], unit(row)),
            "posted": lambda row: (
                "" if row["posted"] is None else quantity(row["posted"], unit(row))
            ),
            "": lambda row: "simulated" if row["simulated"] else "",
        },
    )


def _of(at: Desk, rows: list[Mapping[str, Any]], rule: str) -> Mapping[str, Any]:
    found = next((row for row in rows if row["rule"] == rule), None)
    if found is None:
        at.fail(
            f"the policy has no budget {rule!r}",
            hint="`counterfoil budgets limits` lists them",
            code=Exit.NOT_FOUND,
        )
    return found


def _report(at: Desk, row: Mapping[str, Any]) -> None:
    lines = [f"{row['rule']} is limited to {_limit(row, 'limit')}"]
    if row["proposed"]:
        lines.append(f"proposed: {_proposed(row)}; somebody else has to sign it")
    at.show(row, lines=lines)
    if row["proposed"]:
        raise typer.Exit(Exit.PENDING)


def _limit(row: Mapping[str, Any], field: str) -> str:
    if row[field] is None:
        return "what was paid"
    return quantity(row[field], row["unit"])


def _proposed(row: Mapping[str, Any]) -> str:
    if not row["proposed"]:
        return ""
    limit = row["proposed"]["limit"]
    return NO_LIMIT if limit is None else quantity(limit, row["unit"])


def _since(row: Mapping[str, Any]) -> str:
    if row["window"] in {"hour", "day", "month"}:
        return str(row["window_start"])
    return str(row["window"]).replace("_", " ")


def _difference(one: Mapping[str, Any]) -> str:
    parts = [f"{one['rule']} {one['budget_id'][:ID_CHARS_SHOWN]}"]
    for field in ("posted", "held"):
        log, row = one[field]["log"], one[field]["budget"]
        if log != row:
            has = "no row" if row is None else quantity(row, one["unit"])
            parts.append(f"{field} {has}, by the log {quantity(log, one['unit'])}")
    if one["frozen"]["log"] != bool(one["frozen"]["budget"]):
        parts.append("frozen by the log" if one["frozen"]["log"] else "frozen, unsaid")
    return ": ".join([parts[0], "; ".join(parts[1:])])

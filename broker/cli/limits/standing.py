"""Standing approvals from the command line: propose, sign, take back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.limits.budgets import quantity
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
    pick,
)
from broker.client.keys import new_id
from broker.client.person import PersonClient
from broker.core.words.moment import write_moment
from broker.registry.standing import STANDING_TYP, standing_claims, terms_digest

app = typer.Typer(
    name="standing",
    help="Standing approvals: what two people sign in advance.",
    no_args_is_help=True,
)

ID_CHARS = 36
IdArgument = Annotated[str, typer.Argument(help="Id of the standing approval.")]
_TERMS = (
    "tool",
    "agents",
    "constraints",
    "per_action_minor_units",
    "total_minor_units",
    "currency",
    "expires_at",
)


def register(parent: typer.Typer) -> None:
    """Add these commands as ``standing``."""
    parent.add_typer(app)


@app.command("list")
@as_person
def list_(
    at: Desk,
) -> None:
    """List standing approvals, the first to end first."""
    at.table(
        at.run(PersonClient.standing_approvals),
        {
            "id": lambda row: row["id"],
            "state": lambda row: row["state"],
            "tool": lambda row: row["tool"],
            "per action": lambda row: _amount(row, "per_action_minor_units"),
            "in all": lambda row: _amount(row, "total_minor_units"),
            "ends": lambda row: row["expires_at"],
            "signed": lambda row: str(len(row["signed_by"])),
        },
    )


@app.command()
@as_person
def show(
    at: Desk,
    approval: IdArgument,
) -> None:
    """Show the terms, who signed them, and the digest that a signature covers."""
    found = at.run(lambda me: me.standing_approval(approval))
    at.show(found, lines=_lines(found))


@app.command()
@as_person
def propose(
    at: Desk,
    *,
    tool: Annotated[str, typer.Option(help="The tool, like orders.refund.")],
    agent: Annotated[list[str], typer.Option(help="Name or id of an agent.")],
    per_action: Annotated[int, typer.Option(help="Most minor units of one action.")],
    total: Annotated[int, typer.Option(help="Most minor units in all.")],
    currency: Annotated[str, typer.Option(help="Currency, like USD.")],
    days: Annotated[int, typer.Option(help="How many days it holds.")] = 30,
    where: Annotated[
        list[str],
        typer.Option(help="A constraint: /argument<=NUMBER or /argument=ONE,OTHER."),
    ] = [],  # noqa: B006  (typer copies it)
    reason: ReasonOption = "",
) -> None:
    """Write terms down and sign them; nothing holds until somebody else signs too."""
    constraints = _constraints(at, where)

    async def work(me: PersonClient) -> Mapping[str, Any]:
        named = [one for one in agent if len(one) != ID_CHARS]
        known = await me.standing_agents() if named else []
        ids = {pick(known, one, desk=at, what="agent")["id"] for one in named}
        ids |= {*agent} - {*named}
        now = me.tokens.key.now()
        terms = {
            "tool": tool,
            "agents": sorted(ids),
            "constraints": constraints,
            "per_action_minor_units": per_action,
            "total_minor_units": total,
            "currency": currency,
            "expires_at": write_moment(now + timedelta(days=days)),
        }
        approval_id = new_id(now)
        body = {"id": approval_id, **terms, "reason": reason}
        return await me.propose_standing(
            body | {"signature": _signature(me, approval_id, terms)}
        )

    _report(at, at.run(work))


@app.command()
@as_person
def sign(
    at: Desk,
    approval: IdArgument,
    *,
    digest: Annotated[
        str, typer.Option(help="Digest of the terms that you looked at (`show`).")
    ],
    reason: ReasonOption = "",
) -> None:
    """Sign terms that somebody else has proposed; then they hold."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = await me.standing_approval(approval)
        terms = {field: found[field] for field in _TERMS}
        # Computed here, from what is shown: nobody signs a digest that they were told.
        if terms_digest(approval, terms) != digest:
            at.fail(
                "these are not the terms that were looked at",
                hint="look at them with `counterfoil standing show`",
            )
        body = {"signature": _signature(me, approval, terms), "reason": reason}
        return await me.change_standing(approval, "sign", body)

    _report(at, at.run(work))


@app.command()
@as_person
def revoke(
    at: Desk,
    approval: IdArgument,
    *,
    reason: ReasonOption = "",
) -> None:
    """End it at once, also for what has not left the edge yet."""
    body = {"reason": reason}
    done = at.run(lambda me: me.change_standing(approval, "revoke", body))
    at.show(done, lines=_lines(done))


def _signature(me: PersonClient, approval_id: str, terms: Mapping[str, Any]) -> str:
    digest = terms_digest(approval_id, terms)
    claims = standing_claims(me.person_id, approval_id=approval_id, digest=digest)
    return me.sign(claims, typ=STANDING_TYP)


def _constraints(at: Desk, where: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in where:
        pointer, most, number = one.partition("<=")
        if most and number.isdecimal() and pointer.startswith("/"):
            found[pointer] = {"max": int(number)}
            continue
        pointer, equals, values = one.partition("=")
        if not (equals and values and pointer.startswith("/")):
            at.fail(
                f"{one!r} is no constraint",
                hint="write /amount_minor_units<=5000 or /reason=damaged,lost",
                code=Exit.USAGE,
            )
        found[pointer] = {"in": values.split(",")}
    return found


def _report(at: Desk, row: Mapping[str, Any]) -> None:
    at.show(row, lines=_lines(row))
    if row["state"] == "proposed":
        raise typer.Exit(Exit.PENDING)


def _lines(row: Mapping[str, Any]) -> list[str]:
    lines = [
        f"standing   {row['id']} ({row['state']})",
        f"tool       {row['tool']}",
        f"agents     {', '.join(row['agents'])}",
        f"per action {_amount(row, 'per_action_minor_units')}",
        f"in all     {_amount(row, 'total_minor_units')}",
        f"ends       {row['expires_at']}",
        f"signed by  {', '.join(row['signed_by'])}",
        f"digest     {row['digest']}",
    ]
    for pointer, constraint in row["constraints"].items():
        lines.insert(3, f"only if    {pointer} {constraint}")
    if row["state"] == "proposed":
        lines.append("it holds when somebody else has signed the digest")
    return lines


def _amount(row: Mapping[str, Any], field: str) -> str:
    return quantity(row[field], row["currency"])

"""Unknown outcomes from the command line: look, ask again, say what became of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from broker.cli.approvals import amount_of, app, duration_of, printable
from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    as_person,
)
from broker.client.person import PersonClient

actions = typer.Typer(name="actions", help="Actions: take one back.")


@actions.callback(no_args_is_help=True)
def _actions() -> None:
    """Actions: take one back."""


def register(parent: typer.Typer) -> None:
    """Add ``actions``; the commands of ``approvals`` are there by being imported."""
    parent.add_typer(actions)


@app.command()
@as_person
def unknown(
    at: Desk,
) -> None:
    """List what was sent and got no clear answer; its money is held."""
    at.table(
        at.run(PersonClient.unknown),
        {
            "action": lambda row: row["action"],
            "tool": lambda row: row["tool"],
            "amount": amount_of,
            "customer": lambda row: row["customer_ref"][:8],
            "for": lambda row: duration_of(row["age_s"]),
            "receipt": lambda row: printable(row["receipt"]),
            "edge says": lambda row: ", ".join([row["edge_said"], *row["alarms"]]),
            "you": lambda row: (
                "may resolve"
                if row["may_resolve"]
                else printable(row["why_not"]["text"])
            ),
        },
    )


@app.command()
@as_person
def reconcile(
    at: Desk,
) -> None:
    """Ask edge and upstream now what became of each; ends with 5 if some stay open."""
    found = at.run(PersonClient.reconcile_unknown)
    at.table(
        found["reconciled"],
        {
            "action": lambda row: row["action"],
            "state": lambda row: row["state"],
            "by": lambda row: row["by"].replace("_", " "),
            "said": lambda row: printable(", ".join([row["said"], *row["alarms"]])),
        },
    )
    if found["left"] or any(row["state"] == "unknown" for row in found["reconciled"]):
        raise typer.Exit(Exit.PENDING)


@app.command()
@as_person
def resolve(
    at: Desk,
    action: Annotated[str, typer.Argument(help="Id of the action.")],
    *,
    happened: Annotated[
        bool | None,
        typer.Option("--happened/--not-happened", help="What the upstream shows."),
    ] = None,
    amount: Annotated[
        int | None,
        typer.Option(
            "--amount", help="Minor units that moved, if not what was decided."
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="How you know; it stands in the log.")
    ] = "",
) -> None:
    """Sign what became of an unknown action: it posts or gives back what is held."""
    if happened is None or not reason.strip():
        at.fail(
            "say what the upstream shows, and how you know",
            hint='--happened or --not-happened, and --reason "..."',
            code=Exit.USAGE,
        )
    if amount is not None and not happened:
        at.fail("what did not happen moved no amount", code=Exit.USAGE)

    async def work(me: PersonClient) -> Mapping[str, Any]:
        rows = {row["action"]: row for row in await me.unknown()}
        # One that is resolved by now is listed no more; the broker says what became.
        row = rows.get(action) or {"action": action, "digest": "0" * 64}
        sent = await me.resolve(row, happened=happened, amount=amount, reason=reason)
        return sent.checked()

    done = at.run(work)
    before = " before" if done["repeated"] else ""
    at.show(done, lines=[f"resolved{before}: {done['state']}"])


@actions.command()
@as_person
def undo(
    at: Desk,
    action: Annotated[str, typer.Argument(help="Id of the action.")],
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; who signs it reads that.")
    ],
) -> None:
    """Ask for an action to be taken back; ends with 5 while people must sign that."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        return (await me.undo(action, reason=reason)).checked()

    done = at.run(work)
    at.show(done, lines=[f"{done['status']}: action {done['action_id']}"])
    if done["status"] == "pending_approval":
        raise typer.Exit(Exit.PENDING)

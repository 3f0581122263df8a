"""Approvals from the command line: what waits, the card, and a person's signed vote.

A yes is given to what was shown and to nothing else: at a terminal after a look and a
typed word, in a script by naming the digest of the card that was looked at. There is no
``--yes``. A no is never made to cost more than a yes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import (
    Desk,
    as_person,
)
from broker.client.person import PersonClient
from broker.core.words.money import is_currency

app = typer.Typer(
    name="approvals", help="Approvals: look, sign, refuse.", no_args_is_help=True
)

WATCH_AGAIN_S = 1.0
WORD = "approve"
"""What a person types at the terminal to sign a yes."""

ApprovalArgument = Annotated[str, typer.Argument(help="Id of the approval.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; the agent gets to read it after a no.")
]


def register(parent: typer.Typer) -> None:
    """Add these commands as ``approvals``."""
    parent.add_typer(app)


@app.command("list")
@as_person
def list_(
    at: Desk,
    *,
    order: Annotated[
        str, typer.Option("--order", help="expiry, or amount: the largest first.")
    ] = "expiry",
    customer: Annotated[
        str, typer.Option("--customer", help="Only of this customer_ref.")
    ] = "",
    agent: Annotated[str, typer.Option("--agent", help="Only of this agent.")] = "",
    tool: Annotated[str, typer.Option("--tool", help="Only of this tool.")] = "",
) -> None:
    """List what waits for your roles, the next to expire first."""
    asked = {"order": order, "customer_ref": customer, "agent": agent, "tool": tool}
    query = {name: value for name, value in asked.items() if value}
    at.table(
        at.run(lambda me: me.approvals(query)),
        {
            "approval": lambda row: row["approval"],
            "tool": lambda row: row["tool"],
            "amount": amount_of,
            "customer": lambda row: row["customer_ref"][:8],
            "votes": lambda row: f"{row['votes']} of {row['approvers_min']}",
            "expires in": lambda row: duration_of(row["expires_in_s"]),
            "may be wrong": lambda row: printable(", ".join(row["findings"])),
            "works on it": _claimed,
            "you": lambda row: (
                "may sign" if row["may_approve"] else printable(row["why_not"]["text"])
            ),
        },
    )


@app.command()
@as_person
def show(
    at: Desk,
    approval: ApprovalArgument,
) -> None:
    """Show the card: what you would sign, and why it may be wrong."""
    card = at.run(lambda me: me.card(approval))
    at.show(card, lines=card_lines(card))


@app.command()
@as_person
def approve(
    at: Desk,
    approval: ApprovalArgument,
    *,
    reason: ReasonOption = "",
    shown: Annotated[
        str, typer.Option("--shown", help="Digest of the card that you looked at.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", hidden=True)] = False,
) -> None:
    """Look at the card, sign a yes with your own key, and send it.

    Ends with 5 while other signatures are still missing.
    """
    if yes:
        at.fail(
            "an approval cannot be given without a look",
            hint="look with `approvals show`, then name the card with --shown",
            code=Exit.USAGE,
        )
    asks = not shown
    if asks and not sys.stdin.isatty():
        at.fail(
            "nobody is there to look at the card",
            hint="in a script, name the card that was looked at with --shown",
            code=Exit.USAGE,
        )

    async def work(me: PersonClient) -> Mapping[str, Any]:
        card = await me.card(approval)
        if shown and card["shown"] != shown:
            at.fail(
                "the card is not the one that was looked at",
                hint="look at it again with `approvals show`",
            )
        words = _asked_at_the_terminal(at, card, reason) if asks else reason
        return (await me.vote_on(card, "approve", reason=words)).checked()

    _report(at, at.run(work))


@app.command()
@as_person
def reject(
    at: Desk,
    approvals: Annotated[list[str], typer.Argument(help="Ids of approvals.")],
    *,
    reason: ReasonOption = "",
) -> None:
    """Sign a no for each with your own key, and send them; one no is enough."""

    async def work(me: PersonClient) -> Mapping[str, Any]:
        return (await me.vote(approvals[0], "reject", reason=reason)).checked()

    if len(approvals) == 1:
        _report(at, at.run(work))
        return
    results = at.run(lambda me: me.reject_all(approvals, reason=reason))
    for one in results:
        said = one.get("state") or one["code"]
        at.show(one, lines=[f"{one['approval']}  {said}"])
    if any("code" in one for one in results):
        raise typer.Exit(Exit.FAILED)


@app.command()
@as_person
def watch(
    at: Desk,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
) -> None:
    """Say what begins to wait and what has ended, until interrupted."""
    before: dict[str, Mapping[str, Any]] = {}

    async def look(me: PersonClient) -> None:
        nonlocal before
        found = {row["approval"]: row for row in await me.approvals()}
        for event in changes(before, found):
            at.show(event, lines=[_event_line(event)])
        before = found

    async def follow(me: PersonClient) -> None:
        # The stream begins with an event as well, so nothing is missed in between.
        async for event in me.approval_changes():
            if event in {"here", "changed"}:
                await look(me)

    try:
        while not once:
            # It ends with its token, and is begun again with a new one.
            at.run(follow)
            time.sleep(WATCH_AGAIN_S)
        at.run(look)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.OK) from None


def changes(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield what began to wait, got a vote or a claim, and what waits no more."""
    for approval, row in after.items():
        was = before.get(approval)
        if was is None:
            yield {"event": "waits", **row}
        elif was["votes"] != row["votes"]:
            yield {"event": "vote", **row}
        elif bool(was.get("claim")) != bool(row.get("claim")):
            yield {"event": "claim" if row.get("claim") else "free", **row}
    for approval, row in before.items():
        if approval not in after:
            yield {"event": "ended", **row}


def _confirmed(said: bool | None) -> list[str]:
    if said is None:
        return []
    return [f"customer   has {'' if said else 'not '}confirmed"]


def card_lines(card: Mapping[str, Any]) -> list[str]:
    """Return a card as lines for a terminal: what it is, then why it may be wrong."""
    asked, now = card["asked"], card["now"]
    customer = asked["customer"]
    who = customer["name"] or "unknown name"
    amount = asked["amount"]["text"] if asked["amount"] else "no amount"
    known = f"{customer['verification']}, {customer['channel']}"
    missing, role = now["votes_missing"], asked["quorum"]["role"]
    lines = [
        *(["SIMULATED  this never happened"] if asked["simulated"] else []),
        f"{asked['verb']}: {amount}",
        f"customer   {who} ({known}), ref {customer['ref'][:8]}",
        *(
            f"WRONG?     {one['argument']} = {one['value']}: {one['text']}"
            for one in asked["findings"]
        ),
        *(
            f"because    {one['text']} ({one['rule'] or one['code']})"
            for one in asked["reasons"]
        ),
        *(_budget_line(one) for one in now["budgets"]),
        *(f"customer:  {one['text']}" for one in asked["customer_said"]),
        *(f"agent:     {one['text']}" for one in asked["agent_said"]),
        *(line for one in asked["questions"] for line in _question_lines(one)),
        *(f"argument   {key} = {value}" for key, value in asked["arguments"].items()),
        f"state      {now['state']}, {missing} {role} missing, {asked['expires_at']}",
        *_confirmed(now["customer_confirmed"]),
        *([_claim_line(now["claim"])] if now["claim"] else []),
        f"agent says {asked['agent_reason'] or '(nothing)'}",
        f"approval   {asked['approval']}",
        f"shown      {card['shown']}",
    ]
    if not card["you"]["may_approve"]:
        why = card["you"]["why_not"]
        lines.append(f"you        cannot sign it: {why['text'] if why else 'ended'}")
    return [printable(line) for line in lines]


def _question_lines(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"asked:     {one['question']}"
    if one["answer"] is not None:
        yield f"a model:   {one['answer']['text']}"


def _claim_line(claim: Mapping[str, Any]) -> str:
    who = "you" if claim["you"] else f"person {claim['by']}"
    return f"works on it: {who}, until {claim['until']}"


def _claimed(row: Mapping[str, Any]) -> str:
    claim = row["claim"]
    if not claim:
        return "-"
    return "you" if claim["you"] else str(claim["by"][:8])


def printable(text: str) -> str:
    """Return a text without anything that moves a cursor or turns writing around.

    What customers and agents write is shown to whoever is about to sign.
    """
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _asked_at_the_terminal(at: Desk, card: Mapping[str, Any], reason: str) -> str:
    """Show the card and ask; return the reason, or end the command."""
    for line in card_lines(card):
        typer.echo(line, err=at.as_json)
    if card["reason_needed"] and not reason.strip():
        reason = typer.prompt("A guard found something. Why may it be done", err=True)
    typed = typer.prompt(
        f"Type {WORD} to sign", default="", show_default=False, err=True
    )
    if typed.strip() != WORD:
        at.fail("nothing was signed")
    return reason


def _report(at: Desk, counted: Mapping[str, Any]) -> None:
    missing = counted["approvers_min"] - counted["approved"]
    more = f", {missing} more needed" if counted["state"] == "pending" else ""
    at.show(counted, lines=[f"{counted['state']}{more}"])
    if counted["state"] == "pending":
        raise typer.Exit(Exit.PENDING)


def _event_line(event: Mapping[str, Any]) -> str:
    votes = f"{event['votes']} of {event['approvers_min']} votes"
    parts: Sequence[str] = (
        f"{event['event']:<6}",
        event["approval"],
        event["tool"],
        amount_of(event),
        votes,
    )
    return printable("  ".join(parts))


def amount_of(row: Mapping[str, Any]) -> str:
    """Return an amount as people read it."""
    return str(row["amount"]["text"]) if row["amount"] else "-"


def _budget_line(budget: Mapping[str, Any]) -> str:
    used = budget["posted"] + budget["held_by_others"]
    taken, this = _units(budget, used), _units(budget, budget["this"])
    most = _units(budget, budget["limit"])
    named = budget["window"].replace("last_", "last ").replace("_", " ")
    window = {"ever": "in all", "pending": "at once"}.get(named, f"per {named}")
    window = window.replace("per last", "in the last")
    over = "  OVER" if budget["over"] else ""
    return f"budget     {budget['rule']}: {taken} + {this} of {most} {window}{over}"


def _units(budget: Mapping[str, Any], number: int) -> str:
    if not is_currency(budget["unit"]):
        return str(number)
    return f"{number / 100:,.2f} {budget['unit']}"


def duration_of(seconds: int) -> str:
    """Return a span as people read it."""
    hours, minutes = seconds // 3_600, seconds % 3_600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"

"""Publish a policy: one person proposes and signs, a second one signs and it counts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.policy.checking import FolderArgument
from broker.cli.policy.folder import body_of
from broker.cli.policy.texts import diff_lines, difference
from broker.cli.signed_in import (
    Desk,
    ReasonOption,
    as_person,
)
from broker.client import policy as remote
from broker.client.person import PersonClient
from broker.core.canonical import digest
from broker.registry.policy.cedar_text import PolicyError

WORD = "publish"
"""What a person types at the terminal to put a version in force."""

VersionArgument = Annotated[int, typer.Argument(help="Number of the version.", min=1)]
NowOption = Annotated[
    bool,
    typer.Option(
        "--now", help="Put it in force alone; only if it provably narrows what is."
    ),
]


def add(parent: typer.Typer) -> None:
    """Add these commands."""
    for command in (publish, approve, withdraw, rollback, log, show, diff):
        parent.command()(command)


def content_in(at: Desk, folder: Path) -> dict[str, Any]:
    """Return the content that a folder compiles to, or end the command."""
    try:
        return body_of(folder)
    except PolicyError as error:
        at.fail(str(error), hint=f"see `counterfoil policy check {folder}`")


@as_person
def publish(
    at: Desk,
    folder: FolderArgument,
    *,
    now: NowOption = False,
    reason: ReasonOption = "",
) -> None:
    """Sign a folder as the next version and propose it to a second person.

    Ends with 5 while that person's signature is missing.
    """
    content = content_in(at, folder)

    async def work(me: PersonClient) -> Mapping[str, Any]:
        return await remote.propose(me, content, reason=reason, now=now)

    _report(at, at.run(work))


@as_person
def approve(
    at: Desk,
    version: VersionArgument,
    *,
    digest_: Annotated[
        str, typer.Option("--digest", help="Digest of what you looked at.")
    ] = "",
) -> None:
    """Look at what is proposed, sign it with your own key, and put it in force."""
    if not digest_ and not sys.stdin.isatty():
        at.fail(
            "nobody is there to look at the change",
            hint="in a script, name what was looked at with --digest",
            code=Exit.USAGE,
        )

    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = await remote.proposal(me)
        if found["version"] != version:
            at.fail(f"version {found['version']} is proposed, not {version}")
        if digest_ and digest(dict(found["policy"])) != digest_:
            at.fail("what is proposed is not what was looked at")
        if not digest_:
            current = await remote.in_force(me)
            _asked_at_the_terminal(at, current, found)
        return await remote.approve(me, found)

    _report(at, at.run(work))


@as_person
def withdraw(
    at: Desk,
    *,
    reason: ReasonOption = "",
) -> None:
    """Take back what is proposed."""
    _report(at, at.run(lambda me: remote.withdraw(me, reason=reason)))


@as_person
def rollback(
    at: Desk,
    version: VersionArgument,
    *,
    now: NowOption = False,
    reason: ReasonOption = "",
) -> None:
    """Propose an earlier version again, as a new one with the same content.

    A second person approves it like any other, unless it provably only narrows (--now).
    """

    async def work(me: PersonClient) -> Mapping[str, Any]:
        earlier = await remote.version(me, version)
        why = reason or f"back to version {version}"
        return await remote.propose(
            me, earlier["policy"], reason=why, rollback_of=version, now=now
        )

    _report(at, at.run(work))


@as_person
def log(
    at: Desk,
) -> None:
    """List the versions, newest first, and what is proposed."""

    async def work(me: PersonClient) -> list[dict[str, Any]]:
        found = await remote.versions(me)
        names = {one["id"]: one["name"] for one in await me.people()}
        rows = [dict(one) | {"state": "earlier"} for one in found["versions"]]
        if rows:
            rows[0]["state"] = "in force"
        if found["proposal"]:
            rows.insert(0, dict(found["proposal"]) | {"state": "proposed"})
        for row in rows:
            row["author_name"] = names.get(row["author"], row["author"])
            approver = row["approver"]
            row["approver_name"] = names.get(approver, approver)
        return rows

    at.table(
        at.run(work),
        {
            "version": lambda row: str(row["version"]),
            "state": lambda row: row["state"],
            "at": lambda row: row["at"],
            "author": lambda row: row["author_name"],
            "approver": lambda row: row["approver_name"] or "-",
            "signatures": lambda row: str(row["signatures"]),
            "digest": lambda row: row["digest"][:12],
            "why": lambda row: row["reason"] or "",
        },
    )


@as_person
def show(
    at: Desk,
    version: Annotated[
        str, typer.Argument(help="A version's number, live or proposal.")
    ] = "live",
) -> None:
    """Show a version: who stands behind it, and its whole text."""
    found = at.run(lambda me: _named(at, me, version))
    at.show(found, lines=[*_head(found), "", found["policy"]["cedar"]])


@as_person
def diff(
    at: Desk,
    old: Annotated[str, typer.Argument(help="A number, live, proposal or a folder.")],
    new: Annotated[
        str, typer.Argument(help="A number, live, proposal or a folder.")
    ] = "live",
) -> None:
    """Show what differs between two policies, by rule and line by line."""

    async def work(me: PersonClient) -> tuple[Any, Any]:
        first, second = await _named(at, me, old), await _named(at, me, new)
        return first["policy"], second["policy"]

    found = difference(*at.run(work))
    at.show(found, lines=diff_lines(found))


async def _named(at: Desk, me: PersonClient, which: str) -> Mapping[str, Any]:
    """Return a version by number, what is live or proposed, or a folder's content."""
    if which == "live":
        return await remote.in_force(me)
    if which == "proposal":
        return await remote.proposal(me)
    if which.isdecimal():
        return await remote.version(me, int(which))
    return {"policy": content_in(at, Path(which))}


def _head(found: Mapping[str, Any]) -> list[str]:
    approver = found["approver"] or "nobody else"
    return [
        f"version   {found['version']}, {found['at']}",
        f"author    {found['author']}, approved by {approver}",
        f"digest    {found['digest']}, {found['signatures']} signatures",
        f"why       {found['reason'] or '(nothing said)'}",
    ]


def _asked_at_the_terminal(
    at: Desk, current: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """Show who proposes what, and ask; end the command unless the word is typed."""
    lines = [*_head(found), *diff_lines(difference(current["policy"], found["policy"]))]
    for line in lines:
        typer.echo(line, err=at.as_json)
    asked = f"Type {WORD} to sign"
    typed = typer.prompt(asked, default="", show_default=False, err=True)
    if typed.strip() != WORD:
        at.fail("nothing was signed")


def _report(at: Desk, found: Mapping[str, Any]) -> None:
    lines = [f"version {found['version']} is {found['state']}: {found['digest']}"]
    if found["state"] == "proposed":
        number = found["version"]
        lines.append(f"a second person: counterfoil policy approve {number} --as NAME")
    at.show(found, lines=lines)
    if found["state"] == "proposed":
        raise typer.Exit(Exit.PENDING)

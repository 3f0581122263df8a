"""Explain a decision: of a policy folder, or of the broker that runs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.exits import Exit
from broker.cli.policy.checking import CATALOG, CatalogOption, checked_or_end, fail
from broker.cli.signed_in import (
    Desk,
    as_person,
    pick,
)
from broker.client.person import PersonClient
from broker.core.decisions.explain import answer, ways
from broker.core.words.money import Money, is_currency
from broker.effects.shelf import CatalogShelf
from broker.explain import Explanation, looked_at
from broker.explain import as_json as explanation_json
from broker.registry.appetite.given import question_of

_WORDS = {"permit": "allowed", "escalate": "a person must sign", "deny": "not done"}


def add(parent: typer.Typer) -> None:
    """Add these commands."""
    parent.command()(explain)


@as_person
def explain(
    at: Desk,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A policy folder; without one the running broker is asked."
        ),
    ] = None,
    *,
    given: Annotated[
        str,
        typer.Option(
            help="What to ask a folder, as its tests.toml says it:"
            ' \'tool = "orders.refund", amount = "25.00", currency = "USD"\'.'
        ),
    ] = "",
    action: Annotated[str, typer.Option(help="An action to explain, by its id.")] = "",
    agent: Annotated[str, typer.Option(help="Name or id of an agent.")] = "",
    interaction: Annotated[str, typer.Option(help="One of its conversations.")] = "",
    tool: Annotated[str, typer.Option(help="What it would call.")] = "",
    arguments: Annotated[str, typer.Option(help="With what, as JSON.")] = "{}",
    catalog: CatalogOption = CATALOG,
) -> None:
    """Say what would be decided, by what, and what would make it pass."""
    places: Mapping[str, str] = {}
    if folder is not None:
        found, places = _of_folder(folder, given, catalog, as_json=at.as_json)
    elif action:
        found = at.run(lambda me: me.decision({"action": action}))
    elif agent and interaction and tool:
        body = {
            "interaction": interaction,
            "tool": tool,
            "arguments": _arguments(at, arguments),
        }
        found = _of_broker(at, agent, body)
    else:
        at.fail(
            "say what to explain",
            hint="a folder and --given, --action, or --agent, --interaction, --tool",
            code=Exit.USAGE,
        )
    at.show(found, lines=_lines(found, places))


def _of_folder(
    folder: Path, given: str, catalog: Path, *, as_json: bool
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    checked = checked_or_end(folder, catalog, as_json=as_json)
    totals = {rule.rule_id: rule.unit for rule in checked.budgets}
    try:
        words = tomllib.loads(f"given = {{ {given} }}")["given"]
        asked = question_of(words, tools=CatalogShelf(catalog).tools(), totals=totals)
    except (ValueError, TypeError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        fail(
            f"--given: {what}",
            hint="write it like a test of tests.toml",
            as_json=as_json,
        )
    found = Explanation(
        decision=answer(asked, checked.book),
        question=asked,
        looked_at=looked_at(asked.totals, book=checked.book, budgets=checked.budgets),
        ways=ways(asked, checked.book, ()),
    )
    return explanation_json(found), checked.places


def _of_broker(at: Desk, agent: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    async def work(me: PersonClient) -> Mapping[str, Any]:
        found = pick(await me.agents(), agent, desk=at, what="agent")
        return await me.decision({"agent": found["id"], **body})

    return at.run(work)


def _arguments(at: Desk, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        at.fail("--arguments is no JSON object", code=Exit.USAGE)
    return found


def _lines(found: Mapping[str, Any], places: Mapping[str, str]) -> Iterator[str]:
    yield f"decision    {_decision(found)}"
    for reason in found["reasons"]:
        place = places.get(reason["rule"], "")
        named = ", ".join(part for part in (reason["rule"], place) if part)
        clause = f"{reason['clause']}  " if reason["clause"] else ""
        yield f"because     {clause}{reason['text']}" + (f" ({named})" if named else "")
    for finding in found["findings"]:
        yield f"found       {finding['argument']} {finding['text']}"
    for total in found["totals"]:
        value = _shown(total["value"], total)
        yield f"total       {total['total']}: {value} before this"
    for line in found["budgets"]:
        taken = line["posted"] + line["held"]
        yield (
            f"budget      {line['rule']}: {_shown(taken, line)} of"
            f" {_shown(line['limit'], line)} taken, {_shown(line['remaining'], line)}"
            f" left, this takes {_shown(line['this'], line)}"
            + (" (frozen)" if line["frozen"] else "")
        )
    for way in found["would_pass"]:
        needed = " and ".join(change["text"] for change in way["changes"])
        yield f"would pass  {needed}: {_decision(way)}"


def _decision(found: Mapping[str, Any]) -> str:
    quorum = found.get("quorum")
    if quorum is None:
        return _WORDS[found["decision"]]
    many, hours = quorum["approvers_min"], quorum["expires_s"] / 3_600
    people = "one person" if many == 1 else f"{many} people"
    also = " and the customer" if quorum["customer"] else ""
    return f"{people} with the role {quorum['role']}{also} must sign within {hours:g} h"


def _shown(value: int, line: Mapping[str, Any]) -> str:
    return str(Money(value, line["unit"])) if is_currency(line["unit"]) else str(value)

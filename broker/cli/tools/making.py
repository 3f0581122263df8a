"""`tools new`: a manifest, a function and a test to begin with."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Annotated, Final

import tomlkit
import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption
from broker.cli.stack.state import CHECKOUT
from broker.cli.tools.catalogue import (
    CATALOG_DEFAULT,
    CONNECTOR_FILE,
    CatalogOption,
    manifests,
    read_entry,
)
from broker.registry.kit.openapi.code import connector_code, function_code
from broker.registry.kit.openapi.draft import Draft
from broker.registry.kit.skeleton import EFFECTS, skeleton
from broker.registry.tools import TOOL_NAME_LENGTH_MAX

_NAME: Final = re.compile(
    r"(?P<connector>[a-z][a-z0-9_]{0,39})/(?P<tool>[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+)"
)
_SDK: Final = re.compile(r"^from tools\.sdk import ([A-Za-z_, ]+)$", re.MULTILINE)
_TESTS: Final = CHECKOUT / "tests" / "connectors"


def new(
    name: Annotated[str, typer.Argument(help="CONNECTOR/TOOL, like crm/parcels.get.")],
    *,
    effect: Annotated[
        str, typer.Option(help=f"What it can cause: {', '.join(EFFECTS)}.")
    ] = "read",
    lists: Annotated[
        bool,
        typer.Option(
            "--list",
            help="A read that shows the customer's objects: only those can be named.",
        ),
    ] = False,
    tests: Annotated[
        Path,
        typer.Option(
            help="Folder for its test.", show_default="tests/connectors in the checkout"
        ),
    ] = _TESTS,
    catalog: CatalogOption = CATALOG_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Begin a tool: manifest, connector function and test, narrow as they stand.

    It does not load, and a catalogue with it does not, until what its review asks is
    filled in and a person confirmed it.
    """
    desk = Desk(as_json=as_json)
    draft = _draft(desk, name, effect=effect, lists=lists)
    for entry in map(read_entry, manifests(catalog)):
        if entry.document.get("tool", {}).get("name") == draft.name:
            desk.fail(f"{entry.path} is a tool of that name already")
    folder = catalog / draft.connector
    manifest = folder / f"{draft.name}.toml"
    code = _code(desk, folder / CONNECTOR_FILE, draft)
    folder.mkdir(parents=True, exist_ok=True)
    init = folder / "__init__.py"
    if not init.exists():
        init.write_text(f'"""The connector {draft.connector}."""\n', "utf-8")
    (folder / CONNECTOR_FILE).write_text(code, "utf-8")
    manifest.write_text(tomlkit.dumps(draft.document("counterfoil tools new")), "utf-8")
    tests.mkdir(parents=True, exist_ok=True)
    test = tests / f"test_{draft.connector}_{draft.entry}.py"
    test.write_text(_test(draft), "utf-8")
    files = [str(manifest), str(folder / CONNECTOR_FILE), str(test)]
    desk.show(
        {"tool": draft.name, "files": files},
        lines=[
            *files,
            "fill in what [[review.questions]] asks, in manifest and function alike",
            f"then: counterfoil tools test {draft.name}",
            f"      counterfoil tools check {manifest}",
            f"      counterfoil tools confirm {draft.name} --by YOU",
        ],
    )


def _draft(desk: Desk, name: str, *, effect: str, lists: bool) -> Draft:
    match = _NAME.fullmatch(name)
    if match is None or len(match["tool"]) > TOOL_NAME_LENGTH_MAX:
        desk.fail(
            f"{name!r} is no CONNECTOR/TOOL",
            hint="such as crm/parcels.get: lower-case words, with dots in the tool's",
            code=Exit.USAGE,
        )
    if effect not in EFFECTS:
        desk.fail(f"--effect is one of: {', '.join(EFFECTS)}", code=Exit.USAGE)
    if lists and effect != "read":
        desk.fail("what lists, reads: leave --effect out", code=Exit.USAGE)
    return skeleton(
        name=match["tool"], connector=match["connector"], effect=effect, lists=lists
    )


def _code(desk: Desk, path: Path, draft: Draft) -> str:
    """Return the connector's code with a function for the draft."""
    if not path.exists():
        return connector_code(draft.connector, [draft])
    there = path.read_text("utf-8")
    function, used = function_code(draft)
    try:
        module = ast.parse(there)
    except SyntaxError as error:
        desk.fail(f"{path} is no Python: {error.msg}, line {error.lineno}")
    names = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    if draft.entry in names:
        desk.fail(f"{path} has a function {draft.entry} already")
    match = _SDK.search(there)
    if match is None:
        desk.fail(
            f"{path} has no line `from tools.sdk import ...` of its own",
            hint=f"add one with {', '.join(used)}",
        )
    wanted = sorted({*match[1].replace(" ", "").split(","), *used}, key=_order)
    line = f"from tools.sdk import {', '.join(wanted)}"
    return f"{_SDK.sub(line, there, count=1).rstrip()}\n\n\n{function}"


def _order(name: str) -> tuple[int, str]:
    """Sort as ruff does: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _test(draft: Draft) -> str:
    path = draft.path.replace("{args.thing_id}", "T1").replace(
        "{customer}", "customer-1"
    )
    given: dict[str, object] = {"thing_id": "T1", "text": "Hello"}
    given |= {"amount_minor_units": 100, "currency": "EUR"}
    shown = "".join(
        f'        "{name}": {json.dumps(given[name])},\n' for name in draft.properties
    )
    arguments = f"{{\n{shown}    }}" if shown else "{}"
    return (
        f'"""What {draft.name} sends, tried in the real sandbox."""\n\n'
        "from tests.support.kit.trial import tried\n\n\n"
        f"def test_{draft.entry}_sends_its_one_request():\n"
        f"    arguments = {arguments}\n"
        f'    done = tried("{draft.name}", arguments)\n'
        f'    assert done["sent"] == ["{draft.method} {path}"]\n'
        '    assert done["refused"] == []\n'
        '    assert done["error"] is None\n'
        '    assert done["receipt"]["owner"] == "customer-1"\n'
    )

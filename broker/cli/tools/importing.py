"""`tools import` and `tools confirm`: from a description to manifests that load."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption
from broker.cli.tools.catalogue import (
    CATALOG_DEFAULT,
    CONNECTOR_FILE,
    CatalogOption,
    manifests,
    read_entry,
)
from broker.cli.tools.look import find, lines_of
from broker.cli.tools.reading import ReadError, read_description
from broker.registry.kit.openapi.code import connector_code
from broker.registry.kit.openapi.draft import Imported
from broker.registry.kit.openapi.infer import IMPORTED_MAX, import_operations
from broker.registry.kit.openapi.spec import Operation, Spec, SpecError
from broker.registry.review import ANSWER_CHARS_MAX, reviewed_digest

_CONNECTOR = re.compile(r"[a-z][a-z0-9_]{0,39}")


def import_(
    description: Annotated[
        Path, typer.Argument(help="An OpenAPI 3.0 or 3.1 file, JSON or YAML.")
    ],
    *,
    connector: Annotated[str, typer.Option(help="Name of the new connector.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Operations: an operationId, or like 'GET /tickets/*'."),
    ] = None,
    catalog: CatalogOption = CATALOG_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Make manifests and connector code out of an API's description.

    Nothing of it loads, and a catalogue with it does not, until a person confirmed
    every manifest with `counterfoil tools confirm`.
    """
    desk = Desk(as_json=as_json)
    folder = _folder(desk, catalog, connector)
    try:
        document = read_description(description)
        spec = Spec(document)
        wanted = _wanted(spec, only or [])
    except (ReadError, SpecError) as error:
        desk.fail(str(error))
    taken = {
        str(entry.document.get("tool", {}).get("name"))
        for entry in map(read_entry, manifests(catalog))
    }
    made = import_operations(spec, wanted, connector=connector, taken=taken)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    texts = _texts(made, f"{description.name} sha256:{digest}")
    if not texts:
        whys = "; ".join(f"{one.operation}: {one.why}" for one in made.skipped)
        desk.fail(f"nothing could be imported: {whys}")
    info = document.get("info")
    title = info.get("title") if isinstance(info, dict) else None
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f'"""The connector {connector}."""\n', "utf-8")
    code = connector_code(str(title or connector), made.drafts)
    (folder / CONNECTOR_FILE).write_text(code, "utf-8")
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")
    _report(desk, folder, made)


def confirm(
    tool: Annotated[str, typer.Argument(help="Name of an imported tool.")],
    *,
    by: Annotated[str, typer.Option(help="Who confirms it: a person's name.")],
    catalog: CatalogOption = CATALOG_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Answer what an import could not know, and let the manifest load.

    Asks every open question, shows what the tool may do, and has its name typed. A
    guess that is wrong is corrected in the file first.
    """
    desk = Desk(as_json=as_json)
    entry = find(desk, catalog, tool)
    if entry.review is None:
        desk.fail(f"{entry.path} does not wait for anybody, or does not load")
    if not by.strip() or len(by) > ANSWER_CHARS_MAX or not by.isprintable():
        desk.fail("--by is the name of whoever confirms it", code=Exit.USAGE)
    wrong = [one for one in entry.errors if "tools confirm" not in one]
    wrong += [f"{one.code}: {one.where} {one.says}" for one in entry.findings]
    if wrong:
        desk.fail(
            f"{entry.path}: {wrong[0]}",
            hint=f"mend or accept it first; `counterfoil tools check {entry.path}`",
        )
    document = tomlkit.parse(entry.path.read_text("utf-8"))
    review: Any = document["review"]
    for question in review.get("questions", []):
        if not str(question["answer"]).strip():
            typer.echo(f"\n{question['field']}: {question['question']}", err=True)
            question["answer"] = _answer()
    for line in lines_of(entry):
        typer.echo(line, err=True)
    typed = typer.prompt(f"\nType {tool} to confirm that it may do this", err=True)
    if typed.strip() != tool:
        desk.fail("that is not its name; nothing was confirmed")
    review.pop("confirmation", None)
    digest = reviewed_digest(document.unwrap())
    confirmation = tomlkit.table()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    confirmation.update({"by": by.strip(), "at": now, "digest": digest})
    review["confirmation"] = confirmation
    _write(desk, entry.path, tomlkit.dumps(document))
    desk.show(
        {"tool": tool, "by": by.strip(), "digest": digest, "file": str(entry.path)},
        lines=[f"{tool} is confirmed; it loads at the next start"],
    )


def _answer() -> str:
    while True:
        answer: str = typer.prompt("answer", err=True).strip()
        if 0 < len(answer) <= ANSWER_CHARS_MAX and answer.isprintable():
            return answer
        typer.echo(f"1 to {ANSWER_CHARS_MAX} characters in one line", err=True)


def _write(desk: Desk, path: Path, text: str) -> None:
    """Replace a manifest in one step, once what would be written was seen to load."""
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    after = read_entry(new)
    if after.errors:
        new.unlink()
        desk.fail(f"{path}: {after.errors[0]}")
    new.replace(path)


def _folder(desk: Desk, catalog: Path, connector: str) -> Path:
    if not _CONNECTOR.fullmatch(connector):
        desk.fail(
            f"{connector!r} is no name for a connector",
            hint="lower-case letters, digits and _, such as helpdesk",
            code=Exit.USAGE,
        )
    folder = catalog / connector
    if folder.exists():
        desk.fail(f"{folder} is there already", hint="name another with --connector")
    return folder


def _wanted(spec: Spec, patterns: list[str]) -> list[Operation]:
    """Return the operations that were asked for.

    Raises:
        SpecError: There is none, or more than one run imports.
    """
    found = [
        one
        for one in spec.operations()
        if not patterns
        or any(
            one.operation_id == pattern or fnmatchcase(one.name, pattern)
            for pattern in patterns
        )
    ]
    if not found:
        msg = "the document has no such operation"
        raise SpecError(msg)
    if len(found) > IMPORTED_MAX:
        msg = (
            f"{len(found)} operations, and a person has to confirm each: import up to"
            f" {IMPORTED_MAX} at once, named with --only"
        )
        raise SpecError(msg)
    return found


def _texts(made: Imported, source: str) -> dict[str, str]:
    return {draft.name: tomlkit.dumps(draft.document(source)) for draft in made.drafts}


def _report(desk: Desk, folder: Path, made: Imported) -> None:
    skipped = [{"operation": one.operation, "why": one.why} for one in made.skipped]
    tools = [
        {
            "name": draft.name,
            "operation": draft.operation,
            "effect": draft.effect,
            "questions": len(draft.questions),
        }
        for draft in made.drafts
    ]
    lines = [
        f"{one['name']:32} {one['effect']:12} {one['questions']} questions"
        for one in tools
    ]
    lines += [f"not imported  {one['operation']}: {one['why']}" for one in skipped]
    lines += [
        f"{len(tools)} manifests in {folder}",
        "none loads until a person confirmed it, and neither does a catalogue with it",
        f"next: counterfoil tools check {folder}",
        "then, for each of them: counterfoil tools confirm NAME --by YOU",
    ]
    desk.show(
        {"folder": str(folder), "tools": tools, "not_imported": skipped}, lines=lines
    )

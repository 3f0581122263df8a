"""Read a catalogue as the broker does, but go on after an error and keep it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from broker.cli.stack import environment
from broker.core.words.tool import Tool
from broker.effects.shelf import TOOLS_MAX, read_document
from broker.registry.kit.lint import Finding, lint
from broker.registry.kit.reach import kinds_shown
from broker.registry.review import Review, read_accepted, read_review
from broker.registry.tools import ManifestError, parse_manifest

CONNECTOR_FILE = "connector.py"
CATALOG_DEFAULT = environment.catalog()

CatalogOption = Annotated[
    Path,
    typer.Option(
        "--catalog",
        envvar="COUNTERFOIL_CATALOG",
        help="Folder with one folder per connector.",
        show_default="tools/catalog in the checkout",
    ),
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One manifest file: what it says, and what is wrong with it.

    ``tool`` is there whenever everything but its review is in order; ``errors`` keep it
    from loading, ``findings`` do not.
    """

    path: Path
    document: Mapping[str, Any]
    tool: Tool | None = None
    review: Review | None = None
    errors: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def good(self) -> bool:
        """Return whether there is nothing to be done."""
        return not (self.errors or self.findings)


def read_entry(path: Path) -> Entry:
    """Read one manifest and everything that can be said of it alone."""
    try:
        document = read_document(path)
    except (ManifestError, OSError) as error:
        return Entry(path, {}, errors=(str(error),))
    errors: list[str] = []
    try:
        parse_manifest(document, name=path.name)
    except ManifestError as error:
        errors.append(str(error))
    # What waits for a person only is looked at like any other.
    rest = {name: value for name, value in document.items() if name != "review"}
    try:
        tool = parse_manifest(rest, name=path.name)
        review = read_review(document)
    except ValueError:
        return Entry(path, document, errors=tuple(errors))
    errors.extend(f"manifest {path.name}: {what}" for what in _around(path, tool))
    return Entry(
        path=path,
        document=document,
        tool=tool,
        review=review,
        errors=tuple(errors),
        findings=lint(tool, accepted=read_accepted(document)),
    )


def read_catalogue(place: Path) -> Iterator[Entry]:
    """Read every manifest of a catalogue, of one connector's folder, or one file.

    What a part of a catalogue names, the rest may show: it is read as well.
    """
    entries = [read_entry(path) for path in manifests(place)]
    whole = _whole(place)
    around = entries if whole == place else [*map(read_entry, manifests(whole))]
    shown = kinds_shown(entry.tool for entry in around if entry.tool)
    names: dict[str, Path] = {}
    for number, entry in enumerate(entries, 1):
        path, tool = entry.path, entry.tool
        error, findings = "", entry.findings
        if tool and tool.name in names:
            taken = f"the name {tool.name} is taken by {names[tool.name]}"
            error = f"manifest {path.name}: {taken}"
        elif number > TOOLS_MAX:
            error = f"manifest {path.name}: one more than {TOOLS_MAX} in a catalogue"
        if tool:
            names.setdefault(tool.name, path)
            accepted = read_accepted(entry.document)
            findings = lint(tool, accepted=accepted, shown=shown)
        errors = (*entry.errors, error) if error else entry.errors
        yield replace(entry, errors=errors, findings=findings)


def _whole(place: Path) -> Path:
    """Return the catalogue that a folder or a file is of."""
    place = place.absolute()
    if place.is_file():
        return place.parent.parent
    return place.parent if any(place.glob("*.toml")) else place


def manifests(place: Path) -> Sequence[Path]:
    """Return the manifest files of a catalogue, a connector's folder, or a file."""
    if place.is_file():
        return (place,)
    own = sorted(place.glob("*.toml"))
    return own or sorted(place.glob("*/*.toml"))


def _around(path: Path, tool: Tool) -> Iterator[str]:
    """Say what does not fit between a manifest and what stands around it."""
    if tool.connector != path.parent.name:
        yield f"tool.connector is {tool.connector!r}, its folder {path.parent.name!r}"
    try:
        Draft202012Validator.check_schema(dict(tool.arguments))
    except SchemaError as error:
        yield f"arguments: no JSON Schema: {error.message}"
    code = path.parent / CONNECTOR_FILE
    try:
        module = ast.parse(code.read_text(encoding="utf-8"))
    except OSError:
        yield f"tool.entry: there is no {CONNECTOR_FILE} beside it"
    except (SyntaxError, ValueError) as error:
        yield f"tool.entry: {CONNECTOR_FILE} is no Python: {error}"
    else:
        functions = {n.name for n in module.body if isinstance(n, ast.FunctionDef)}
        if tool.entry not in functions:
            yield f"tool.entry: {CONNECTOR_FILE} has no function {tool.entry}"

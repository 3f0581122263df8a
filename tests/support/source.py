"""Read our own source: which files there are and what they define."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[2]
PRODUCT = ("broker", "tools", "workflows", "infra")
ROOMS = (*PRODUCT, "tests")
# Not ours to read: made by tools, or by running the product.
SKIPPED = {"__pycache__", "node_modules"}


@dataclass(frozen=True, slots=True)
class Function:
    """One function or method of our source, with its length in lines."""

    where: str
    name: str
    lines: int


def files(*places: str, pattern: str = "*") -> list[Path]:
    """Return our files under the given places of the repository, sorted."""
    found: set[Path] = set()
    for place in places:
        found.update(
            path
            for path in (TOP / place).rglob(pattern)
            if path.is_file()
            and not any(
                part in SKIPPED or part.startswith(".")
                for part in path.relative_to(TOP).parts[1:]
            )
        )
    return sorted(found)


def all_text_files() -> list[Path]:
    """Return every file of the repository that a person reads or a tool obeys."""
    top = [
        path
        for path in TOP.iterdir()
        if path.is_file() and path.name not in {".git", ".coverage"}
    ]
    places = (*ROOMS, "docs", "requirements", ".ci")
    return sorted(
        [*top, *files(*(place for place in places if (TOP / place).is_dir()))]
    )


def shown(path: Path) -> str:
    """Return a path as the repository names it."""
    return path.relative_to(TOP).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return a Python file's syntax tree, parsed once per run."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[Function]:
    """Yield every function of a file, nested ones included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            yield Function(
                where=f"{shown(path)}:{node.lineno}",
                name=node.name,
                lines=last - node.lineno + 1,
            )


def constants(path: Path, *, suffix: str) -> Iterator[str]:
    """Yield the names with this suffix that a module or its classes assign."""
    bodies = [tree(path).body]
    bodies += [
        node.body for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)
    ]
    for body in bodies:
        for node in body:
            match node:
                case ast.Assign(targets=targets):
                    names = [
                        target for target in targets if isinstance(target, ast.Name)
                    ]
                case ast.AnnAssign(target=ast.Name() as target):
                    names = [target]
                case _:
                    names = []
            yield from (name.id for name in names if name.id.endswith(suffix))


def identifiers(path: Path) -> set[str]:
    """Return every name that a file uses, as a variable, attribute or import."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case _:
                pass
    return found

"""Name what importing.py attempts; importing it here would make the attempts."""

from __future__ import annotations

import ast
from pathlib import Path


def _names() -> frozenset[str]:
    tree = ast.parse(Path(__file__).with_name("importing.py").read_text("utf-8"))
    for node in tree.body:
        match node:
            case ast.AnnAssign(
                target=ast.Name(id="ATTEMPTS"), value=ast.Dict(keys=keys)
            ):
                return frozenset(
                    key.value
                    for key in keys
                    if isinstance(key, ast.Constant) and isinstance(key.value, str)
                )
            case _:
                pass
    msg = "importing.py has no attempts"
    raise AssertionError(msg)


IMPORT_ATTEMPTS = _names()

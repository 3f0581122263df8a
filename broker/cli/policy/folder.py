"""Read a policy folder: the only place where a policy's sources are files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from broker.core.words.tool import Tool
from broker.registry.appetite.checks import Checked, check_sources
from broker.registry.appetite.folder import read_sources
from broker.registry.policy.cedar_text import PolicyError

FILES_MAX: Final = 64
"""Most files of one policy folder."""

FILE_BYTES_MAX: Final = 262_144
_SUFFIXES: Final = frozenset({".toml", ".cedar"})


def read_folder(folder: Path) -> dict[str, str]:
    """Return the texts of a policy folder by their path below it, sorted.

    Raises:
        PolicyError: there is no such folder, it holds too much, or a file is no text.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder"
        raise PolicyError(msg)
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file()
    )
    if len(found) > FILES_MAX:
        msg = f"{folder} holds more than {FILES_MAX} files"
        raise PolicyError(msg)
    return {path.relative_to(folder).as_posix(): _text(path) for path in found}


def body_of(folder: Path) -> dict[str, Any]:
    """Return the body of a policy row, but for ``version``, ``author``, ``approver``.

    It holds what the broker decides by (``cedar``, ``hold``, ``rates``, ``budgets``),
    who answers for it (``owners``) and, under ``sources``, the texts that it was made
    from. It is compiled and not checked; `check_sources` does that.

    Raises:
        PolicyError: the folder cannot be read or compiled; the message says where.
    """
    return read_sources(read_folder(folder)).body()


def checked(folder: Path, tools: Sequence[Tool]) -> Checked:
    """Return a folder compiled, validated strictly and tested.

    Raises:
        PolicyError: it may not be published; the message says where and why.
    """
    return check_sources(read_folder(folder), tools)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as text: {error}"
        raise PolicyError(msg) from error
    if len(data) > FILE_BYTES_MAX:
        msg = f"{path} is longer than {FILE_BYTES_MAX} bytes"
        raise PolicyError(msg)
    return text

"""Read of each manifest what the runner needs: who runs which function for how long.

What a tool may send is the edge's to enforce, and what it may return the broker's. The
digest makes all three decide on the same version.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools import limits

CONNECTOR_FILE: Final = "connector.py"

_CONNECTOR: Final = re.compile(r"[a-z][a-z0-9_]*")
_ENTRY: Final = re.compile(r"[a-z][a-z0-9_]*")
_EFFECTS: Final = frozenset(
    {"read", "draft", "answer", "state", "money", "identity", "entitlement"}
)
_EFFECTS_OF_TIER_3: Final = frozenset({"state", "money", "identity", "entitlement"})


class CatalogError(ValueError):
    """The catalog cannot be served; the message names file, field and remedy."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What the runner knows of a tool; ``consequential`` is Tier 3.

    ``preload`` has its connector imported in the zygote, once for all calls. That is
    faster, and means that the connector's code could keep what later calls bring.
    """

    name: str
    connector: str
    entry: str
    consequential: bool
    preload: bool
    timeout_s: int
    digest: str


def load_catalog(catalog: Path) -> dict[str, Tool]:
    """Return every tool of a catalog by name.

    Args:
        catalog: A folder with one folder per connector, which holds ``connector.py``
            and one TOML file per tool.

    Raises:
        CatalogError: A manifest or connector is missing, malformed or over a limit, or
            there is no tool at all.
    """
    tools: dict[str, Tool] = {}
    try:
        for path in _manifests(catalog):
            tool = _load(path)
            if tool.name in tools:
                msg = f"{path}: a tool named {tool.name} exists already"
                raise CatalogError(msg)
            tools[tool.name] = tool
    except OSError as error:
        msg = f"the catalog cannot be read: {error}"
        raise CatalogError(msg) from error
    if not 0 < len(tools) <= limits.TOOLS_MAX:
        msg = f"{catalog} holds {len(tools)} tools, not 1 to {limits.TOOLS_MAX}"
        raise CatalogError(msg)
    return tools


def _manifests(catalog: Path) -> Iterator[Path]:
    for folder in sorted(catalog.iterdir()):
        if not folder.is_dir() or not _CONNECTOR.fullmatch(folder.name):
            continue
        manifests = sorted(folder.glob("*.toml"))
        code = folder / CONNECTOR_FILE
        if manifests and not code.is_file():
            msg = f"{folder} has manifests and no {CONNECTOR_FILE}"
            raise CatalogError(msg)
        if manifests and code.stat().st_size > limits.CONNECTOR_BYTES_MAX:
            msg = f"{code} has more than {limits.CONNECTOR_BYTES_MAX} bytes"
            raise CatalogError(msg)
        yield from manifests


def _load(path: Path) -> Tool:
    raw = path.read_bytes()
    if len(raw) > limits.MANIFEST_BYTES_MAX:
        msg = f"{path}: more than {limits.MANIFEST_BYTES_MAX} bytes"
        raise CatalogError(msg)
    try:
        data = tomllib.loads(raw.decode())
        return _parse(data, connector=path.parent.name)
    except (KeyError, TypeError, ValueError) as error:
        what = f"missing field {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{path}: {what}"
        raise CatalogError(msg) from error


def _parse(data: Mapping[str, Any], *, connector: str) -> Tool:
    if "review" in data:
        _check_confirmed(data)
    tool = data["tool"]
    name, effect, entry = tool["name"], tool["effect"], tool["entry"]
    timeout_s, preload = tool.get("timeout_s", 10), tool.get("preload", False)
    if tool["connector"] != connector:
        msg = f"tool.connector must be {connector!r}, the name of its folder"
        raise ValueError(msg)
    if not isinstance(name, str) or effect not in _EFFECTS:
        msg = "tool.name must be a text, and tool.effect one that is known"
        raise ValueError(msg)
    if not isinstance(entry, str) or not _ENTRY.fullmatch(entry):
        msg = f"tool.entry {entry!r} must name a public function"
        raise ValueError(msg)
    if type(timeout_s) is not int or not 1 <= timeout_s <= limits.TIMEOUT_S_MAX:
        msg = f"tool.timeout_s must be an integer from 1 to {limits.TIMEOUT_S_MAX}"
        raise ValueError(msg)
    if type(preload) is not bool or (preload and effect in _EFFECTS_OF_TIER_3):
        msg = "tool.preload must be false for an effect of Tier 3"
        raise ValueError(msg)
    return Tool(
        name=name,
        connector=connector,
        entry=entry,
        consequential=effect in _EFFECTS_OF_TIER_3,
        preload=preload,
        timeout_s=timeout_s,
        digest=_digest(data),
    )


def _check_confirmed(data: Mapping[str, Any]) -> None:
    """Refuse an imported manifest that waits for a person, or was changed since.

    Broker and edge hold the same rule; see docs/connectors.md.
    """
    review = dict(data["review"])
    todo = "a person confirms it with `counterfoil tools confirm`"
    if not all(str(one["answer"]).strip() for one in review.get("questions", [])):
        msg = f"a question in review is open; {todo}"
        raise ValueError(msg)
    if "confirmation" not in review:
        msg = f"nobody has confirmed it; {todo}"
        raise ValueError(msg)
    rest = {name: value for name, value in review.items() if name != "confirmation"}
    if review["confirmation"]["digest"] != _digest({**data, "review": rest}):
        msg = f"it was changed after it was confirmed; {todo} again"
        raise ValueError(msg)


def _digest(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()

"""Hold what the door answers against the example that the document shows for it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from broker.api.document.examples import ANSWERS

if TYPE_CHECKING:
    import httpx

COMPARED = (
    "/v1/admin/agents",
    "/v1/admin/people",
    "/v1/admin/changes",
    "/v1/admin/use-cases",
    "/v1/admin/channels",
    "/v1/admin/keys",
    "/v1/admin/notifications",
    "/v1/admin/credentials",
    "/v1/admin/canaries",
    "/.well-known/oauth-protected-resource",
)
"""Their answers always have the same fields."""

_SIMPLE = re.compile(r"\{[^}]+\}")


def differs(method: str, path: str, status: int, body: dict[str, Any]) -> str:
    """Return how an answer differs from its example, nothing if it does not."""
    for pattern, example in _examples(method, str(status)):
        if pattern.fullmatch(path):
            missing, more = {*example} - {*body}, {*body} - {*example}
            if missing or more:
                return f"{method} {path}: example has {missing}, answer has {more}"
            return ""
    return ""


async def compared(answer: httpx.Response) -> None:
    """Fail if an answer has other fields than its example."""
    path = answer.request.url.path
    if answer.status_code >= 300 or not path.startswith(COMPARED):
        return
    body = json.loads(await answer.aread())
    problem = differs(answer.request.method, path, answer.status_code, body)
    assert not problem, problem


@cache
def _examples(method: str, status: str) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    # A path without a placeholder is meant before one with.
    found = {
        path: example
        for (asked, path, answered), example in ANSWERS.items()
        if (asked, answered) == (method, status)
    }
    order = sorted(found, key=lambda path: path.count("{"))
    return [(_pattern(path), found[path]) for path in order]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(re.escape(part) for part in _SIMPLE.split(path)))

"""Hold what a broker answers against the example that its document shows for it.

Whatever a test asks is compared, down to the last field, and noted. A whole run
(``--examples``) ends badly if there is an example that nothing was held against.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FREE: Final = frozenset(
    {
        "arguments",
        "approval_limits",
        "constraints",
        "left_out",
        "metadata",
        "outcomes",
        "policy",
        "record",
        "result",
        "scope",
    }
)
"""Fields whose names are data: a currency, an argument, what an upstream answered."""

STANDS_IN: Final = "stands-in"
"""The header by which a test's own door says that it answers for somebody else."""

SEEN: Final[set[tuple[str, str, str]]] = set()
"""What this process compared: method, path and status."""

_PLACEHOLDER = re.compile(r"\{[^}]+\}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|[+]\d\d:\d\d)")


async def compared(answer: httpx.Response) -> None:
    """Fail if an answer is not of the form of its example, or is not documented."""
    method, path = answer.request.method, answer.request.url.path
    if STANDS_IN in answer.headers:
        return
    found = operation_of(method, path)
    status = str(answer.status_code)
    if found is None:
        return
    where, answers = found
    assert status in answers, f"{method} {where} does not document {status}"
    [(kind, content)] = answers[status].get("content", {"": {}}).items()
    said = answer.headers.get("content-type", "").partition(";")[0]
    assert said == kind, f"{method} {where} {status}: {said}, and not {kind}"
    if status >= "300" or not content:
        return
    SEEN.add((method, where, status))
    if not kind.endswith("json"):
        return
    problem = difference(examples_in(content), json.loads(await answer.aread()))
    assert not problem, f"{method} {where} {status}: {problem}"


def examples_in(content: dict[str, Any]) -> list[Any]:
    """Return the examples of one answer or body, of which there may be several."""
    named = [one["value"] for one in content.get("examples", {}).values()]
    return [content["example"], *named] if "example" in content else named


def difference(examples: list[Any], answer: Any, at: str = "") -> str:
    """Return where an answer has another form than its examples; nothing if nowhere.

    What all examples have must be there, what none has may not. Null says nothing of
    what would be there instead.
    """
    told = [one for one in examples if one is not None]
    if not told or answer is None or at.rpartition("/")[2] in FREE:
        return ""
    alike = [one for one in told if _kind(one) == _kind(answer)]
    if not alike:
        return f"{at or '/'}: example is {_kind(told[0])}, answer {_kind(answer)}"
    found: Iterator[str] = iter(())
    if isinstance(answer, dict):
        missing = set.intersection(*({*one} for one in alike)) - {*answer}
        more = {*answer} - {name for one in alike for name in one}
        if missing or more:
            return f"{at or '/'}: example has {missing}, answer has {more}"
        found = (
            difference([one[key] for one in alike if key in one], part, f"{at}/{key}")
            for key, part in answer.items()
        )
    elif isinstance(answer, list) and answer:
        shown = [part for one in alike for part in one]
        if not shown:
            return f"{at}: the examples show none"
        found = (difference(shown, part, f"{at}[]") for part in answer)
    return next(filter(None, found), "")


def _kind(value: Any) -> str:
    if isinstance(value, str) and (moment := _MOMENT.fullmatch(value)):
        return f"moment {moment[2]} {'with' if moment[1] else 'without'} fraction"
    return "number" if type(value) in {int, float} else type(value).__name__


@cache
def described() -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the document says of the answers of each operation."""
    # Most tests ask nobody, and a broker takes a second to import.
    from broker.api.app import create_app  # noqa: PLC0415
    from broker.api.document.build import operations  # noqa: PLC0415

    app = create_app(lambda _: None)  # type: ignore[arg-type,return-value]
    return {
        (method, path): operation["responses"]
        for method, path, operation in operations(app.openapi())
    }


def with_examples() -> Iterator[tuple[str, str, str]]:
    """Yield each answer of which the document shows how it looks when all is well."""
    for (method, path), answers in described().items():
        for status, answer in answers.items():
            if status < "300" and answer.get("content"):
                yield method, path, status


def operation_of(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    """Return the documented path that a path is meant by, with its answers."""
    for shown, pattern in _patterns(method):
        if pattern.fullmatch(path):
            return shown, described()[method, shown]
    return None


@cache
def _patterns(method: str) -> list[tuple[str, re.Pattern[str]]]:
    # A path without a placeholder is meant before one with.
    paths = [path for asked, path in described() if asked == method]
    order = sorted(paths, key=lambda path: path.count("{"))
    return [(path, re.compile(_pattern(path))) for path in order]


def _pattern(path: str) -> str:
    return "[^/]+".join(re.escape(part) for part in _PLACEHOLDER.split(path))

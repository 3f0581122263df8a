"""Decide whether a request is one that the manifest allows for the decided arguments.

Pure. What may be sent is computed from the warrant; the connector's request must equal
it, byte for byte in path, query and form, value for value and type for type in a JSON
body. What leaves the edge is the computed request, never the connector's bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.warrants.template import (
    TARGET_CHARS_MAX,
    Filling,
    TemplateError,
    difference,
    fill_body,
    fill_form,
    fill_path,
    fill_query,
    form_difference,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.tool import EgressRequest, Tool

REQUEST_BYTES_MAX: Final = 131_072
"""Longest body of a connector's request."""

REQUEST_DEPTH_MAX: Final = 32

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

_CHARSET = r"(\s*;\s*charset=\"?utf-8\"?)?"
_TYPES = {
    kind: re.compile(re.escape(kind) + _CHARSET, re.IGNORECASE) for kind in (JSON, FORM)
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a connector asked for; ``content_type`` is empty if it named none."""

    method: str
    target: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Allowed:
    """What will be sent: the manifest's request, filled with the decision."""

    request: EgressRequest
    target: str
    body: bytes | None

    @property
    def content_type(self) -> str:
        """Return what the body is, empty if there is none."""
        if self.body is None:
            return ""
        return FORM if self.request.form else JSON


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is sent; ``detail`` helps a connector's author and has no values."""

    code: str
    detail: str


class _Step(IntEnum):
    """How far a request agreed with a rule; the furthest one is worth telling."""

    METHOD = 0
    PATH = 1
    QUERY = 2
    BODY = 3


def decide(
    asked: Asked, *, tool: Tool, filling: Filling, used: Mapping[str, int]
) -> Allowed | Refusal:
    """Return what to send, or why not.

    Args:
        asked: The connector's request.
        tool: The manifest version that the warrant names.
        filling: The decided arguments, customer and action.
        used: How often each request was sent in this call, by id.
    """
    if sum(used.values()) >= tool.requests_max:
        return Refusal("budget", f"the call has had its {tool.requests_max} requests")
    if len(asked.target) > TARGET_CHARS_MAX:
        return Refusal("rule", f"the target is longer than {TARGET_CHARS_MAX}")
    furthest, why = _Step.METHOD, f"no rule has method {asked.method[:10]!r}"
    spent = ""
    for request in tool.requests:
        found = _compare(asked, request, filling)
        if isinstance(found, Allowed):
            if used.get(request.request_id, 0) < request.times_max:
                return found
            spent = request.request_id
        elif found[0] > furthest:
            furthest, why = found
    if spent:
        return Refusal("budget", f"request {spent!r} has been sent as often as it may")
    return Refusal("rule", why)


def _compare(
    asked: Asked, request: EgressRequest, filling: Filling
) -> Allowed | tuple[_Step, str]:
    name = f"rule {request.request_id!r}"
    if asked.method != request.method:
        return _Step.METHOD, ""
    try:
        path = fill_path(request.path, filling)
        query = fill_query(request.query, filling)
        body = None if request.body is None else _filled(request, filling)
    except TemplateError as error:
        return _Step.PATH, f"{name} cannot be filled: {error}"
    asked_path, mark, asked_query = asked.target.partition("?")
    problem = _body_problem(asked, body, request)
    if asked_path != path:
        return _Step.PATH, f"{name}: the path differs"
    if not _same_query(asked_query, query) or bool(mark) != bool(query):
        return _Step.QUERY, f"{name}: the query differs"
    if problem:
        return _Step.BODY, f"{name}: {problem}"
    target = path + mark + "&".join(query)
    sent = body if body is None or request.form else canonical(body)
    return Allowed(request, target, sent)


def _filled(request: EgressRequest, filling: Filling) -> Any:  # noqa: ANN401
    """Return the bytes of a form, or the value of a JSON body."""
    if request.form:
        return fill_form(request.body or {}, filling)
    return fill_body(request.body, filling)


def _same_query(asked: str, wanted: tuple[str, ...]) -> bool:
    """Compare pairs in any order, each in one of the two encodings of a space."""
    if not wanted:
        return not asked
    # A plus is %2B in what was computed, so one that is left can only be a space.
    pairs = sorted(pair.replace("+", "%20") for pair in asked.split("&"))
    return pairs == list(wanted)


def _body_problem(
    asked: Asked,
    wanted: Any,  # noqa: ANN401
    request: EgressRequest,
) -> str:
    if wanted is None:
        return "no body is expected" if asked.body else ""
    kind = FORM if request.form else JSON
    if not _TYPES[kind].fullmatch(asked.content_type):
        return f"the content type is not {kind}"
    if request.form:
        where = form_difference(wanted, asked.body)
        return "" if where is None else f"the body {where}"
    try:
        found = parse_json(
            asked.body,
            bytes_max=REQUEST_BYTES_MAX,
            depth_max=REQUEST_DEPTH_MAX,
            floats=True,
        )
    except CanonicalError as error:
        return f"the body is not strict JSON ({error.problem})"
    at = difference(wanted, found)
    return "" if at is None else f"the body differs at {_shown(at)}"


def _shown(pointer: str) -> str:
    return repr(pointer[:100]) if pointer else "the top"

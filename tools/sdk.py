"""What connector code uses: a call, a way to the upstream, and how to fail.

A connector is one function per tool::

    def orders_get(call: Call) -> dict[str, object]:
        response = call.http.get(f"/orders/{segment(call.arguments['order_id'])}")
        return accept(response, 200)

It runs in a process of its own that ends with the call. It holds no credential, and
can reach nothing but the edge, which lets through what the manifest states for the
decided arguments. What it returns is shown to nobody before the manifest released it,
and decides nothing: owner, amount and outcome come from the edge.

A result is an object of text, plain integers within 2^53-1, true, false, null, lists
and objects; no fractions: amounts are integer minor units.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from tools import frames, limits
from tools.http1 import Connection, HttpError

__all__ = [
    "ABSENT",
    "Call",
    "ConnectorError",
    "Http",
    "Response",
    "accept",
    "accept_empty",
    "given",
    "segment",
]

ABSENT: Final = object()
"""Stands for an argument that was not given; see `given`."""

_JSON_TYPE: Final = "application/json"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"


class ConnectorError(Exception):
    """A failure that a connector declares, such as an upstream's refusal."""

    def __init__(self, code: str, message: str = "") -> None:
        """Keep a stable code in snake case apart from a sentence for people.

        Neither may hold personal data: people who operate the runner read them. At most
        ERROR_CODE_CHARS_MAX and ERROR_MESSAGE_CHARS_MAX characters are kept.
        """
        super().__init__(code, message)
        self.code = code
        self.message = message


class Response:
    """What the edge let through of an upstream's response."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Keep status, headers by lower-case name, and the body."""
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> object:
        """Return the body as JSON.

        Raises:
            ConnectorError: ``upstream_malformed``, it is no strict JSON.
        """
        try:
            return frames.loads(
                self.body, depth_max=limits.FRAME_DEPTH_MAX, floats=True
            )
        except frames.FrameError as error:
            raise ConnectorError(
                code="upstream_malformed", message=str(error)
            ) from None


class Http:
    """The way to the upstream: requests to paths, without host or credential."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        """Speak over a connection to the edge."""
        self._connection = connection

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Response:
        """Send a GET request; see `request`."""
        return self.request("GET", path, query=query)

    def post(
        self,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str | int] | bytes | None = None,
    ) -> Response:
        """Send a POST request with a JSON body or a form; see `request`."""
        return self.request("POST", path, json=json, form=form)

    def put(self, path: str, *, json: Mapping[str, object]) -> Response:
        """Send a PUT request with a JSON body; see `request`."""
        return self.request("PUT", path, json=json)

    def patch(self, path: str, *, json: Mapping[str, object]) -> Response:
        """Send a PATCH request with a JSON body; see `request`."""
        return self.request("PATCH", path, json=json)

    def delete(self, path: str) -> Response:
        """Send a DELETE request; see `request`."""
        return self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        form: Mapping[str, str | int] | bytes | None = None,
    ) -> Response:
        """Send a request and return the response, whatever its status.

        Args:
            method: Upper-case HTTP method.
            path: From ``/`` on, its parts quoted (`segment`).
            query: Names and values, not yet quoted.
            json: The body.
            form: The body as a form instead, its names sorted as the edge wants them;
                bytes are a form that a library has encoded.

        Raises:
            ConnectorError: ``egress``, the edge ended the connection or broke the
                protocol.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"accept": _JSON_TYPE}
        body = b""
        if json is not None:
            body = _dump(json)
            headers["content-type"] = _JSON_TYPE
        elif form is not None:
            body = form if isinstance(form, bytes) else _form(form)
            headers["content-type"] = _FORM_TYPE
        try:
            return Response(
                *self._connection.exchange(method, target, headers=headers, body=body)
            )
        except HttpError as error:
            raise ConnectorError(code="egress", message=str(error)) from None


class Call:
    """One decided call: what a connector's function is given."""

    __slots__ = ("action", "arguments", "customer", "http")

    def __init__(
        self,
        *,
        arguments: Mapping[str, Any],
        customer: str,
        action: str,
        http: Http,
    ) -> None:
        """Keep the decided arguments, the customer bound to the interaction and the id.

        ``customer`` is the upstream's own id, empty when none is bound yet; ``action``
        names the action, and is the reference that upstreams may store.
        """
        self.arguments = arguments
        self.customer = customer
        self.action = action
        self.http = http


def segment(value: object) -> str:
    """Quote a value for one part of a path; a slash in it stays inside the part.

    Raises:
        ConnectorError: ``bad_segment``, it is empty or would climb (``.``, ``..``).
    """
    text = str(value)
    if text in {"", ".", ".."}:
        raise ConnectorError(
            code="bad_segment", message="a part of a path cannot be empty or dots"
        )
    return quote(text, safe="")


def accept(response: Response, *statuses: int, listed: str = "") -> dict[str, object]:
    """Return the JSON object of a response that has one of these statuses.

    Args:
        response: What came back.
        statuses: Those that say that it was done.
        listed: The answer is a list: return it under this name.

    Raises:
        ConnectorError: ``upstream_refused``, another status; ``upstream_malformed``,
            the body is no JSON object, or no list.
    """
    accept_empty(response, *statuses)
    value = response.json()
    if listed and isinstance(value, list):
        return {listed: value}
    if listed or not isinstance(value, dict):
        what = "list" if listed else "object"
        raise ConnectorError(
            code="upstream_malformed", message=f"the body is no {what}"
        )
    return value


def accept_empty(response: Response, *statuses: int) -> dict[str, object]:
    """Return nothing of a response that has one of these statuses.

    Raises:
        ConnectorError: ``upstream_refused``, another status.
    """
    if response.status not in statuses:
        raise ConnectorError(
            code="upstream_refused", message=f"answered {response.status}"
        )
    return {}


def given(fields: Mapping[str, object]) -> dict[str, object]:
    """Return fields without those that are ABSENT, as the edge computes them.

    An object stays, also when all its fields are left out.
    """
    return {
        name: given(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not ABSENT
    }


def _form(fields: Mapping[str, str | int]) -> bytes:
    return urlencode(sorted(fields.items()), safe="[]").encode("ascii")


def _dump(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

"""A small upstream of somebody's own: parcels, lockers, and a journal of requests."""

from __future__ import annotations

import json
import re
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SEEN_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    body: str
    headers: Mapping[str, str]

    @property
    def line(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"

    @property
    def key(self) -> str:
        """Return the idempotency key, empty if there was none."""
        return self.headers.get("Idempotency-Key", "")


class Parcels:
    """The upstream: what it is reached with, and what it was asked."""

    def __init__(self) -> None:
        """Begin with a credential of its own."""
        self.credential = secrets.token_urlsafe(32)
        self.url = ""
        self.seen: list[Seen] = []

    def answer(self, seen: Seen) -> tuple[int, dict[str, Any]]:
        """Return status and body, as an upstream would that knows one customer."""
        self.seen.append(seen)
        assert len(self.seen) <= _SEEN_MAX
        if seen.headers.get("Authorization") != f"Bearer {self.credential}":
            return 401, {"error": "who are you"}
        found = _ANSWERS.get(seen.line)
        return found or (404, {"error": "nothing is there"})


_ANA = {"customer_id": "ana"}
_PARCEL = {"number": "P1", "state": "sent"}
_LOCKER = {"locker_id": "L7", "state": "shut"}
_ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "GET /customers/ana/parcels": (200, {**_ANA, "parcels": [_PARCEL]}),
    "GET /parcels/P1": (200, {**_ANA, **_PARCEL, "note": "Left at the door."}),
    "POST /customers/ana/messages": (201, {**_ANA, "status": "queued"}),
    "GET /customers/ana/lockers": (200, {**_ANA, "lockers": [_LOCKER]}),
    "POST /lockers/L7/open": (200, {**_ANA, **_LOCKER, "state": "open"}),
}


@contextmanager
def parcels() -> Iterator[Parcels]:
    """Serve the upstream on a port of the loopback address."""
    upstream = Parcels()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length).decode()
            seen = Seen(self.command, self.path, text, dict(self.headers))
            status, body = upstream.answer(seen)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815  (the names that the server calls)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        upstream.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield upstream
        finally:
            server.shutdown()
            thread.join()


LOCKERS = """\
openapi: 3.1.0
info: {title: Lockers, version: "1"}
paths:
  /customers/{customer_id}/lockers:
    get:
      summary: List lockers
      parameters:
        - {name: customer_id, in: path, required: true, schema: {type: string}}
      responses:
        "200":
          description: The customer's.
          content:
            application/json:
              schema:
                type: object
                required: [customer_id, lockers]
                properties:
                  customer_id: {type: string}
                  lockers:
                    type: array
                    maxItems: 20
                    items: {$ref: "#/components/schemas/Locker"}
  /lockers/{locker_id}/open:
    post:
      summary: Open a locker
      parameters:
        - name: locker_id
          in: path
          required: true
          schema: {type: string, pattern: "^L[0-9]{1,9}$"}
        - {name: Idempotency-Key, in: header, schema: {type: string}}
      responses:
        "200":
          description: It is open.
          content:
            application/json:
              schema:
                allOf:
                  - {$ref: "#/components/schemas/Locker"}
                  - type: object
                    required: [customer_id]
                    properties: {customer_id: {type: string}}
        "409": {description: It was open.}
components:
  schemas:
    Locker:
      type: object
      required: [locker_id]
      properties:
        locker_id: {type: string, maxLength: 20}
        state: {type: string, enum: [shut, open]}
"""
"""What its owner says of the lockers, as `tools import` reads it."""


def sections(page: str, heading: str) -> str:
    """Return one section of a page, without its heading."""
    found = re.search(
        rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert found is not None, heading
    return found[1]


def blocks(section: str) -> list[str]:
    """Return the fenced blocks of a section, without what they are indented by."""
    found = re.findall(r"^( *)```\w*\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found
    ]

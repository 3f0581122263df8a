"""Speak the help desk's API over HTTP, as openapi.yaml describes it."""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.helpdesk.books import MACROS, Answer, Books, Work, refusal

BODY_BYTES_MAX: Final = 65_536
KEY_CHARS_MAX: Final = 200
DESCRIPTION: Final = Path(__file__).with_name("openapi.yaml")

_ID: Final = re.compile(r"[1-9][0-9]{0,8}")
_USER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_CHARS_MAX}}}")
_MEDIA: Final = "application/json"

_Endpoint = Callable[[Request], Awaitable[Response]]
_Do = Callable[[Work], Answer]
_Change = Callable[[Request, Mapping[str, Any]], _Do]


class Desk:
    """Answers requests; what a body may hold is read from openapi.yaml."""

    def __init__(self, books: Books) -> None:
        """Work on these books."""
        self._books = books
        described = yaml.safe_load(DESCRIPTION.read_text("utf-8"))
        self._bodies = {
            (method, path): Draft202012Validator(
                {
                    **operation["requestBody"]["content"][_MEDIA]["schema"],
                    "components": described["components"],
                }
            )
            for path, item in described["paths"].items()
            for method, operation in item.items()
            if "requestBody" in operation
        }

    def list_tickets(self, request: Request) -> Answer:
        """List a user's tickets."""
        user, status = request.path_params["user_id"], request.query_params
        if not _USER.fullmatch(user):
            return refusal(404, "no_such_user")
        found = self._books.tickets(user, status.get("status", ""))
        return Answer(200, {"user_id": user, "tickets": found})

    def get_ticket(self, request: Request) -> Answer:
        """Read a ticket."""
        found = self._books.ticket(_id(request, "ticket_id"))
        return Answer(200, {"ticket": found}) if found else _unknown()

    def list_comments(self, request: Request) -> Answer:
        """Read a ticket's comments."""
        found = self._books.ticket(_id(request, "ticket_id"))
        if found is None:
            return _unknown()
        comments = self._books.comments(found["id"])
        return Answer(200, {**_whose(found), "comments": comments})

    def list_macros(self, _: Request) -> Answer:
        """List the macros."""
        return Answer(200, {"macros": list(MACROS)})

    def create_ticket(self, _: Request, body: Mapping[str, Any]) -> _Do:
        """Open a ticket."""
        given = body["ticket"]

        def do(work: Work) -> Answer:
            made = work.connection.execute(
                "INSERT INTO ticket (requester_id, subject, description, status,"
                " priority, external_id, created_at, updated_at)"
                " VALUES (?, ?, ?, 'open', ?, ?, ?, ?)",
                (
                    given["requester_id"],
                    given["subject"],
                    given["description"],
                    given.get("priority", "normal"),
                    given.get("external_id", ""),
                    work.now,
                    work.now,
                ),
            )
            work.note("ticket.create", made.lastrowid or 0)
            return Answer(201, {"ticket": work.ticket(made.lastrowid or 0)})

        return do

    def update_ticket(self, request: Request, body: Mapping[str, Any]) -> _Do:
        """Change a ticket's status, priority or both."""
        ticket_id, given = _id(request, "ticket_id"), body["ticket"]

        def do(work: Work) -> Answer:
            found = work.ticket(ticket_id)
            if found is None:
                return _unknown()
            if found["status"] == "closed":
                return refusal(409, "closed")
            status = given.get("status", found["status"])
            _set(work, ticket_id, status, given.get("priority", found["priority"]))
            work.note("ticket.update", ticket_id)
            return Answer(200, {"ticket": work.ticket(ticket_id)})

        return do

    def create_comment(self, request: Request, body: Mapping[str, Any]) -> _Do:
        """Answer on a ticket."""
        ticket_id, given = _id(request, "ticket_id"), body["comment"]

        def do(work: Work) -> Answer:
            found = work.ticket(ticket_id)
            if found is None:
                return _unknown()
            if found["status"] == "closed":
                return refusal(409, "closed")
            comment = work.comment(
                ticket_id,
                "agent",
                given["body"],
                external_id=given.get("external_id", ""),
            )
            work.note("comment.create", ticket_id)
            return Answer(201, {**_whose(found), "comment": comment})

        return do

    def apply_macro(self, request: Request, _: Mapping[str, Any]) -> _Do:
        """Apply a macro to a ticket."""
        ticket_id, macro_id = _id(request, "ticket_id"), _id(request, "macro_id")
        macros = [one for one in MACROS if one["id"] == macro_id]

        def do(work: Work) -> Answer:
            found = work.ticket(ticket_id)
            if found is None or not macros:
                return _unknown()
            if found["status"] == "closed":
                return refusal(409, "closed")
            work.comment(ticket_id, "agent", str(macros[0]["text"]), external_id="")
            _set(work, ticket_id, str(macros[0]["status"]), found["priority"])
            work.note("macro.apply", ticket_id)
            return Answer(200, {"ticket": work.ticket(ticket_id)})

        return do

    def read(self, answer: Callable[[Request], Answer]) -> _Endpoint:
        """Return an endpoint that only looks."""

        async def endpoint(request: Request) -> Response:
            return _json(answer(request))

        return endpoint

    def change(self, described: str, make: _Change) -> _Endpoint:
        """Return an endpoint that changes something, once per idempotency key."""

        async def endpoint(request: Request) -> Response:
            method, path = request.method, request.url.path
            valid = self._bodies.get((method.lower(), described))
            raw = await request.body()
            if len(raw) > BODY_BYTES_MAX:
                return _json(refusal(413, "too_large"))
            try:
                body = json.loads(raw) if raw else {}
            except ValueError:
                return _json(refusal(422, "not_json"))
            if valid is not None and not valid.is_valid(body):
                return _json(refusal(422, "not_as_described"))
            keys = request.headers.getlist("idempotency-key")
            if len(keys) > 1 or not all(_KEY.fullmatch(one) for one in keys):
                return _json(refusal(422, "bad_key"))
            do = make(request, body)
            key = keys[0] if keys else ""
            return _json(self._books.once(key, [method, path, body], do))

        return endpoint

    async def journal(self, _: Request) -> Response:
        """Show every change; for tests, under a credential of its own."""
        return JSONResponse(self._books.journal())

    async def reset(self, _: Request) -> Response:
        """Return to the first tickets; for tests."""
        self._books.reset()
        return JSONResponse({})


def build(books: Books, *, credential: str, control: str = "") -> Starlette:
    """Return the application.

    Args:
        books: The state.
        credential: What callers must show as a bearer token.
        control: What tests must show; without it there is no journal and no reset.
    """
    desk = Desk(books)
    tickets, comments = "/tickets/{ticket_id}", "/tickets/{ticket_id}/comments"
    macro = "/tickets/{ticket_id}/macros/{macro_id}/apply"
    routes = [
        ("GET", "/users/{user_id}/tickets", desk.read(desk.list_tickets)),
        ("POST", "/tickets", desk.change("/tickets", desk.create_ticket)),
        ("GET", tickets, desk.read(desk.get_ticket)),
        ("PUT", tickets, desk.change(tickets, desk.update_ticket)),
        ("GET", comments, desk.read(desk.list_comments)),
        ("POST", comments, desk.change(comments, desk.create_comment)),
        ("GET", "/macros", desk.read(desk.list_macros)),
        ("POST", macro, desk.change(macro, desk.apply_macro)),
    ]
    guarded = [(*one, credential) for one in routes]
    if control:
        guarded.append(("GET", "/__journal", desk.journal, control))
        guarded.append(("POST", "/__reset", desk.reset, control))
    app = Starlette(
        routes=[
            Route(path, _guard(endpoint, shown), methods=[method])
            for method, path, endpoint, shown in guarded
        ]
    )
    app.router.redirect_slashes = False
    return app


def _guard(endpoint: _Endpoint, credential: str) -> _Endpoint:
    async def guarded(request: Request) -> Response:
        shown = request.headers.getlist("authorization")
        wanted = f"Bearer {credential}".encode()
        if len(shown) != 1 or not hmac.compare_digest(shown[0].encode(), wanted):
            return _json(refusal(401, "unauthorized"))
        return await endpoint(request)

    return guarded


def _set(work: Work, ticket_id: int, status: str, priority: str) -> None:
    work.connection.execute(
        "UPDATE ticket SET status = ?, priority = ?, updated_at = ? WHERE id = ?",
        (status, priority, work.now, ticket_id),
    )


def _whose(ticket: Mapping[str, Any]) -> dict[str, Any]:
    return {"ticket_id": ticket["id"], "requester_id": ticket["requester_id"]}


def _id(request: Request, name: str) -> int:
    word = request.path_params[name]
    return int(word) if _ID.fullmatch(word) else 0


def _unknown() -> Answer:
    return refusal(404, "no_such_object")


def _json(answer: Answer) -> Response:
    return JSONResponse(answer.body, status_code=answer.status)

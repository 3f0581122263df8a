"""How people share the work at the console: claims, questions, many noes at once.

Nothing here says yes.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from broker.api.console import drawing, parts, sessions
from broker.approving import asking, claiming, console
from broker.core.words.errors import (
    BrokerError,
    InvalidError,
    RequestError,
    UnauthenticatedError,
)

MARKED_MAX: Final = 50
"""How many of the queue one press rejects."""

router = APIRouter(tags=["console"], include_in_schema=False)


@router.post("/console/approvals/{approval_id}/claim")
async def share(request: Request, approval_id: str) -> Response:
    """Work on a card, or give it back, as ``word`` says."""
    form = await parts.form_of(request)
    try:
        session = await sessions.changing(request, form.get("csrf", ""))
    except UnauthenticatedError:
        return parts.way_in(request)
    ports, told, failed = parts.ports_of(request), "", None
    mine = parts.checked_id(approval_id)
    try:
        match form.get("word"):
            case "claim":
                await claiming.claim(ports, session.caller, mine)
            case "release":
                released = await claiming.release(ports, session.caller, mine)
                told = "" if released else "It was not yours any more."
            case _:
                msg = "a card is claimed or released"
                raise InvalidError(msg, pointer="/word")
    except BrokerError as error:
        failed = error
    said = {"told": told, "error": failed, "reason": form.get("reason", "")}
    said["shown"] = form.get("shown", "")
    return await parts.answered(request, session, mine, said)


@router.post("/console/approvals/{approval_id}/questions")
async def ask(request: Request, approval_id: str) -> Response:
    """Ask the agent; the card has the question from then on, and its answer later."""
    form = await parts.form_of(request)
    try:
        session = await sessions.changing(request, form.get("csrf", ""))
    except UnauthenticatedError:
        return parts.way_in(request)
    ports, failed = parts.ports_of(request), None
    mine, shown = parts.checked_id(approval_id), form.get("shown", "")
    # What else changed is not hidden by the question, which changes the card itself.
    before = await console.look(ports, session.caller, mine)
    if before.card is not None and before.card["shown"] == shown:
        shown = ""
    # Forms send line breaks as two characters.
    text = form.get("question", "").replace("\r\n", "\n")
    try:
        await asking.ask(ports, session.caller, mine, text)
    except BrokerError as error:
        failed = error
    said = {"error": failed, "shown": shown, "question": text if failed else ""}
    told = "" if failed else "asked"
    said |= {"told": told, "reason": form.get("reason", "")}
    return await parts.answered(request, session, mine, said)


@router.post("/console/rejections")
async def reject_marked(request: Request) -> Response:
    """Reject what is marked in the queue, each by a vote of its own, for one reason."""
    most = MARKED_MAX + parts.FORM_FIELDS_MAX
    fields = await parts.fields_of(request, fields_max=most)
    form = parts.once([one for one in fields if one[0] != "marked"])
    marked = dict.fromkeys(value for name, value in fields if name == "marked")
    try:
        session = await sessions.changing(request, form.get("csrf", ""))
    except UnauthenticatedError:
        return parts.way_in(request)
    if not 0 < len(marked) <= MARKED_MAX:
        msg = f"mark 1 to {MARKED_MAX} of them"
        error = InvalidError(msg, pointer="/marked")
        values = await parts.queue(request, session) | {"error": error}
        return drawing.page("queue_page.html", values, status=error.status)
    ports, rejected = parts.ports_of(request), 0
    reason = " ".join(form.get("reason", "").split())
    left: list[dict[str, str]] = []
    for one in marked:
        try:
            mine = parts.checked_id(one)
            await console.reject(
                ports, session.caller, session.ticket, mine, reason=reason
            )
            rejected += 1
        except RequestError as error:
            # One that has ended must not keep the others from being rejected.
            left.append({"approval": one, "text": error.detail})
    values = await parts.queue(request, session)
    values |= {"rejected": rejected, "left": left}
    return drawing.page("queue_page.html", values)

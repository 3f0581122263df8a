"""How people share the work over HTTP: claims, questions, absences, many noes at once.

Nothing here gives anybody a right, and nothing says yes: the endpoint translates and
decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from broker.api.approvals.votes import checked_id, counted_json, ports_of
from broker.api.bodies import Body, documented, read
from broker.api.console.events import stream
from broker.api.security import person
from broker.approving import asking, claiming, voting
from broker.core.approvals.questions import QUESTION_CHARS_MAX
from broker.core.approvals.votes import VOTE_BYTES_MAX
from broker.core.words.approval import VoteWord
from broker.core.words.errors import InvalidError, RequestError
from broker.core.words.moment import read_moment, write_moment
from broker.core.words.subject import Caller

if TYPE_CHECKING:
    from broker.ports.queue import Away

REJECTIONS_MAX: Final = 50
"""How many noes one request carries."""

MOMENT_CHARS_MAX: Final = 32
_UUID: Final = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

router = APIRouter(prefix="/v1/approvals", tags=["approvals"])
Someone = Annotated[Caller, Depends(person)]


class RejectionBody(Body):
    """One no: the approval, and the vote that was signed for it."""

    approval: str = Field(pattern=_UUID)
    vote: str = Field(min_length=1, max_length=VOTE_BYTES_MAX)


class RejectionsBody(Body):
    """Signed noes, one for each approval; a yes among them is refused."""

    votes: list[RejectionBody] = Field(min_length=1, max_length=REJECTIONS_MAX)


class QuestionBody(Body):
    """What a person wants to know before they decide."""

    question: str = Field(min_length=1, max_length=QUESTION_CHARS_MAX)


class AwayBody(Body):
    """Until when somebody is away, and who stands in."""

    deputy: str = Field(pattern=_UUID)
    until: str = Field(max_length=MOMENT_CHARS_MAX, examples=["2026-11-30T08:00:00Z"])


@router.get(
    "/events",
    summary="Follow what changes",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow(request: Request, who: Someone) -> Response:
    """Return a stream that says when to look again, until the token ends."""
    clock = ports_of(request).clock

    async def signed_in() -> bool:
        return clock.now() < who.expires_at

    return stream(request, signed_in=signed_in)


@router.get("/away", summary="See whether you are away")
async def show_away(request: Request, who: Someone) -> dict[str, Any]:
    """Return until when you are away and who stands in; null if you are not."""
    return _away_json(await claiming.away(ports_of(request), who))


@router.put("/away", summary="Be away for a while", openapi_extra=documented(AwayBody))
async def leave(request: Request, who: Someone) -> dict[str, Any]:
    """Hand claims and reminders over to a deputy, who votes by own right and limit."""
    body, ports = await read(request, AwayBody), ports_of(request)
    try:
        until = read_moment(body.until)
    except ValueError as error:
        msg = f"until is {error}"
        raise InvalidError(msg, pointer="/until") from None
    handed = await claiming.leave(ports, who, deputy=body.deputy, until=until)
    return _away_json(await claiming.away(ports, who)) | {"handed_over": handed}


@router.delete("/away", summary="Be back")
async def come_back(request: Request, who: Someone) -> dict[str, Any]:
    """End your absence; what was handed over stays where it is."""
    ports = ports_of(request)
    await claiming.come_back(ports, who)
    return _away_json(await claiming.away(ports, who))


@router.post(
    "/rejections",
    summary="Reject several",
    openapi_extra=documented(RejectionsBody),
)
async def reject_many(request: Request, who: Someone) -> dict[str, Any]:
    """Count signed noes one after the other; each has its own result, or problem.

    There is no such request for a yes: each is given to one card that was looked at.
    """
    body, ports = await read(request, RejectionsBody), ports_of(request)
    results: list[dict[str, Any]] = []
    for one in body.votes:
        try:
            counted = await voting.cast(
                ports, who, one.approval, one.vote, only=VoteWord.REJECT
            )
            results.append(counted_json(counted))
        except RequestError as error:
            # One that has ended must not keep the others from being rejected.
            results.append({"approval": one.approval, "code": error.code})
    return {"results": results}


@router.post("/{approval_id}/claim", summary="Work on one")
async def claim(request: Request, approval_id: str, who: Someone) -> dict[str, Any]:
    """Tell others to leave it alone for a while, or keep it for longer."""
    found = await claiming.claim(ports_of(request), who, checked_id(approval_id))
    until = write_moment(found.until) if found.until else None
    return {"approval": approval_id, "claimed_by": found.by, "claimed_until": until}


@router.delete("/{approval_id}/claim", summary="Give one back")
async def release(request: Request, approval_id: str, who: Someone) -> dict[str, Any]:
    """Give your claim back; ``released`` is false if it was not yours any more."""
    released = await claiming.release(ports_of(request), who, checked_id(approval_id))
    return {"approval": approval_id, "released": released}


@router.post(
    "/{approval_id}/questions",
    status_code=201,
    summary="Ask the agent",
    openapi_extra=documented(QuestionBody),
)
async def ask(request: Request, approval_id: str, who: Someone) -> dict[str, Any]:
    """Ask for what is missing on the card; the answer is shown there as a model's."""
    body = await read(request, QuestionBody)
    made = await asking.ask(
        ports_of(request), who, checked_id(approval_id), body.question
    )
    return {"approval": approval_id, "question": made}


def _away_json(away: Away | None) -> dict[str, Any]:
    if away is None:
        return {"away": None}
    return {"away": {"deputy": away.deputy, "until": write_moment(away.until)}}

"""What would be decided: for agents as codes, for people with rules and numbers.

An agent that may look at thresholds will find a way along them. It learns the word, the
codes and what it may do next; asking is counted by the same rates as acting. A person
who may look into the registry, or who owns the agent, sees which rule and clause and
counter decided, what each budget has room for, and what would make it pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from broker import explain, flow
from broker.api.actions import ActionBody, ask_of, findings_json
from broker.api.bodies import Body, documented, read
from broker.api.problems import hint_for
from broker.api.security import agent_or_person, person_row
from broker.core.words.decision import Decision, Deny, Escalate, word_of
from broker.core.words.errors import InvalidError
from broker.core.words.subject import Caller, SubjectKind
from broker.registry.people import check_may_see

if TYPE_CHECKING:
    from broker.ports import Ports

router = APIRouter(prefix="/v1", tags=["decisions"])
Asker = Annotated[Caller, Depends(agent_or_person)]
_UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class PersonBody(Body):
    """What a person asks about: an action there was, or a request nobody made."""

    action: str | None = Field(default=None, pattern=_UUID)
    agent: str | None = Field(default=None, pattern=_UUID)
    interaction: str | None = Field(default=None, pattern=_UUID)
    tool: str | None = Field(default=None, max_length=64)
    arguments: dict[str, Any] = Field(default={})


@router.post(
    "/decisions",
    summary="Ask what would be decided, without doing anything",
    openapi_extra=documented(ActionBody),
    responses={429: {"description": "Asking is counted by the same rates as acting."}},
)
async def ask_for_decision(request: Request, asker: Asker) -> Response:
    """Return what would be decided. Nothing is reserved, done or recorded.

    An agent sends what it would send to ``/v1/actions``. A person sends ``action``, or
    ``agent``, ``interaction``, ``tool`` and ``arguments``, and sees numbers.
    """
    if asker.kind is SubjectKind.PERSON:
        return JSONResponse(await _for_person(request, asker))
    ports: Ports = request.app.state.ports
    answer = await flow.decide(ports, await ask_of(request, asker, ""))
    decision = answer.decision
    assert decision is not None  # noqa: S101  (decide always decides)
    body = {
        "decision": word_of(decision),
        "reasons": [{"code": reason.code} for reason in decision.reasons],
        "findings": findings_json(answer),
        "next": _next(decision),
    }
    return JSONResponse(body, headers=answer.rate.headers() if answer.rate else {})


async def _for_person(request: Request, asker: Caller) -> dict[str, Any]:
    ports: Ports = request.app.state.ports
    who = await person_row(request.app.state.desk, asker)
    body = await read(request, PersonBody)
    if body.action is not None:
        stored = await explain.of_action(ports, body.action)
    else:
        if body.agent is None or body.interaction is None or body.tool is None:
            msg = "name an action, or agent, interaction and tool"
            raise InvalidError(msg, pointer="/action")
        wanted = explain.Supposed(
            agent_id=body.agent,
            interaction_id=body.interaction,
            tool=body.tool,
            arguments=body.arguments,
        )
        stored = await explain.supposed(ports, wanted)
    view = await ports.authority.view(stored.requester.agent_id, [])
    if view.agent is None or view.agent.owner != who.person_id:
        check_may_see(who)
    found = await explain.explained(ports, stored)
    return {"tool": stored.request.tool, **explain.as_json(found)}


def _next(decision: Decision) -> str:
    match decision:
        case Deny():
            return hint_for(decision.reasons[0].code)
        case Escalate():
            return "You may ask for it; it then waits for a person."
        case _:
            return "You may ask for it."

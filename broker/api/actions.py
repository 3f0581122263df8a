"""The tool API: what an agent may call, what it asks for, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from broker import flow
from broker.api import problems, wire
from broker.api.bodies import Body, documented, read
from broker.api.kit.waiting import until_ended
from broker.api.security import agent, spent_s
from broker.approving import asking, ending
from broker.case import Ask
from broker.core.approvals.questions import ANSWER_CHARS_MAX
from broker.core.identity.chain import is_part_of
from broker.core.words.action import (
    CITATIONS_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    REASON_LENGTH_MAX,
    ActionState,
)
from broker.core.words.decision import Deny
from broker.core.words.errors import NotFoundError, UnavailableError
from broker.core.words.subject import Caller
from broker.flow import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.action import ActionRecord
    from broker.core.words.tool import Tool
    from broker.ports import Ports

router = APIRouter(prefix="/v1", tags=["actions"])
ANSWER_S_MAX = 4.2
"""Longest wait for an answer; what takes longer goes on, and the answer is 202."""
LOOK_S_MAX = 0.6
"""Longest look at how far it came then, so that no call hangs beyond five seconds."""
_WAIT_S_MIN = 0.3
WAIT_S_MAX = 30
LISTED_MAX = 100
"""Actions in one list; also how far back it looks for those of one interaction."""
Agent = Annotated[Caller, Depends(agent)]
_UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_ID = re.compile(_UUID)


class ActionBody(Body):
    """What an agent asks for."""

    tool: str = Field(max_length=64, examples=["orders.refund"])
    arguments: dict[str, Any] = Field(
        examples=[
            {
                "order_id": "W2611340",
                "amount_minor_units": 2500,
                "currency": "USD",
                "payment_method_id": "gift_card_1725971",
            }
        ]
    )
    interaction: str = Field(pattern=_UUID)
    reason: str = Field(default="", max_length=REASON_LENGTH_MAX)
    citations: list[str] = Field(default=[], max_length=CITATIONS_MAX)


class AnswerBody(Body):
    """What an agent answers to a question about its action."""

    question_id: str = Field(pattern=_UUID)
    answer: str = Field(min_length=1, max_length=ANSWER_CHARS_MAX)


@router.get("/tools", summary="List the tools that this identity may call")
async def list_tools(request: Request, caller: Agent) -> dict[str, Any]:
    """Return name, description, effect, tier and argument schema of each tool."""
    ports: Ports = request.app.state.ports
    return {"tools": [tool_json(tool) for tool in await tools_for(ports, caller)]}


@router.post(
    "/actions",
    summary="Ask for an action",
    openapi_extra=documented(ActionBody),
    responses={
        202: {"description": "A person must approve it, or it is still executing."},
        403: {"description": "Denied; reasons are stable codes."},
        409: {"description": "The Idempotency-Key was used for another call."},
        422: {"description": "A field is invalid; pointer names it."},
        429: {"description": "Too many calls; RateLimit headers say when."},
        503: {"description": "Not able to decide now; nothing was done."},
    },
)
async def ask_for_action(
    request: Request,
    caller: Agent,
    idempotency_key: Annotated[str, Header(max_length=IDEMPOTENCY_KEY_LENGTH_MAX)] = "",
) -> Response:
    """Take an action from request to result, to pending, or to a reasoned no.

    The same consequential call again is the same action. A new Idempotency-Key permits
    an intended second one.
    """
    ports: Ports = request.app.state.ports
    ask = await ask_of(request, caller, idempotency_key)
    tasks = request.app.state.tasks
    within_s = max(ANSWER_S_MAX - spent_s(request), _WAIT_S_MIN)
    answer = await answered(ports, ask, tasks=tasks, within_s=within_s)
    return await answer_response(ports, answer)


@router.get("/actions", summary="List the newest actions of this agent")
async def list_actions(
    request: Request,
    caller: Agent,
    limit: Annotated[int, Query(ge=1, le=LISTED_MAX)] = 20,
) -> dict[str, Any]:
    """Return this agent's newest actions, newest first."""
    ports: Ports = request.app.state.ports
    records = await own_actions(ports, caller, limit=limit)
    return {"actions": [wire.action_json(record) for record in records]}


@router.get("/actions/{action_id}", summary="See what became of an action")
async def get_action(
    request: Request,
    action_id: str,
    caller: Agent,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX)] = 0,
) -> Response:
    """Return the action; with ``wait_s`` wait that long for it to end."""
    ports: Ports = request.app.state.ports
    record = await waited(ports, caller, action_id, wait_s=wait_s)
    return await record_response(ports, record, polled=True)


@router.delete("/actions/{action_id}", summary="Cancel an action that waits")
async def cancel_action(request: Request, action_id: str, caller: Agent) -> Response:
    """Cancel an action that waits for approval; anything else stays as it is."""
    ports: Ports = request.app.state.ports
    record = await own_action(ports, caller, action_id)
    await ending.withdraw(ports, record)
    return await record_response(ports, await own_action(ports, caller, action_id))


@router.post(
    "/actions/{action_id}/answers",
    summary="Answer a person's question",
    openapi_extra=documented(AnswerBody),
    responses={409: {"description": "It was answered, or nobody waits any more."}},
)
async def answer_question(request: Request, action_id: str, caller: Agent) -> Response:
    """Answer what somebody asked about an action that waits for them.

    The text is shown to them after the customer's own words, as a model's.
    """
    ports: Ports = request.app.state.ports
    body = await read(request, AnswerBody)
    record = await own_action(ports, caller, action_id)
    await asking.answer(ports, record, question_id=body.question_id, text=body.answer)
    return await record_response(ports, record, polled=True)


# ------------------------------------------------------------------- shared with MCP


async def answered(
    ports: Ports, ask: Ask, *, tasks: set[asyncio.Task[Answer]], within_s: float
) -> Answer:
    """Ask the flow, and return its answer, or how far it came in ``within_s`` seconds.

    Args:
        ports: The ports.
        ask: What is asked; it has its id already.
        tasks: Where what is under way is kept until it has ended.
        within_s: Longest wait; what takes longer goes on by itself.

    Raises:
        UnavailableError: it was not even decided by then.
        BrokerError: the question could not be answered.
    """

    def ended(task: asyncio.Task[Answer]) -> None:
        tasks.discard(task)
        if not task.cancelled():
            # Whoever stopped waiting does not hear of an error; the state tells it.
            task.exception()

    # A task of its own: a client that disconnects cancels nothing.
    task = asyncio.create_task(flow.submit(ports, ask))
    tasks.add(task)
    task.add_done_callback(ended)
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if done:
        return task.result()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S_MAX):
            record = await ports.store.action(ask.action_id)
            if record is not None:
                return Answer(None, record=record)
    msg = "the decision takes longer than it may"
    raise UnavailableError(msg, hint="send the same call again", retry_after_s=2)


def refuse_lost(record: ActionRecord) -> None:
    """Refuse to call it the caller's failure that nobody was there to execute.

    Raises:
        UnavailableError: nothing was sent, and the same call may be sent again.
    """
    if record.outcome is not None and record.outcome.code == "executor-unavailable":
        msg = "the executor does not answer; nothing was sent"
        raise UnavailableError(msg, hint="send the same call again")


async def tools_for(ports: Ports, caller: Caller) -> list[Tool]:
    """Return what this caller may ask for: granted in its row and by its token."""
    view = await ports.authority.view(caller.subject_id, [])
    granted = view.agent.tools if view.agent else frozenset()
    if caller.grant.tools:
        granted &= caller.grant.tools
    return [tool for tool in ports.shelf.tools() if tool.name in granted]


def tool_json(tool: Tool) -> dict[str, Any]:
    """Return a tool as agents see it."""
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "effect": tool.effect.value,
        "tier": int(tool.tier),
        "arguments": dict(tool.arguments),
    }


async def own_action(ports: Ports, caller: Caller, action_id: str) -> ActionRecord:
    """Return an action of this agent.

    Raises:
        NotFoundError: there is none; one of another agent looks the same.
    """
    record = await ports.store.action(action_id) if _is_id(action_id) else None
    bound_to = caller.grant.interaction_id
    if (
        record is None
        or not _is_its(caller, record)
        or (bound_to and record.request.interaction_id != bound_to)
    ):
        msg = "there is no such action of yours"
        raise NotFoundError(msg)
    return record


async def own_actions(
    ports: Ports, caller: Caller, *, limit: int
) -> list[ActionRecord]:
    """Return the newest actions of this agent, newest first.

    A token that is bound to an interaction sees the actions of that one alone.
    """
    bound_to = caller.grant.interaction_id
    depth = LISTED_MAX if bound_to else limit
    found: list[ActionRecord] = []
    for action_id in await ports.store.newest(agent_id=caller.subject_id, limit=depth):
        record = await ports.store.action(action_id)
        if (
            record is None
            or bound_to not in {"", record.request.interaction_id}
            or not _is_its(caller, record)
        ):
            continue
        found.append(record)
        if len(found) == limit:
            break
    return found


def _is_its(caller: Caller, record: ActionRecord) -> bool:
    """Return whether an agent may look at this, answer for it and withdraw it.

    What a person ordered in their own name is no agent's.
    """
    return not record.request.asked_by and is_part_of(caller, record.requester)


async def waited(
    ports: Ports, caller: Caller, action_id: str, *, wait_s: float
) -> ActionRecord:
    """Return an action once it has ended, or as it is after ``wait_s`` seconds."""

    async def look() -> ActionRecord:
        return await own_action(ports, caller, action_id)

    return await until_ended(
        look, waits=ports.waits, who=caller.subject_id, wait_s=wait_s
    )


async def state_json(ports: Ports, record: ActionRecord) -> dict[str, Any]:
    """Return an action as its agent sees it, with what people say and ask."""
    return wire.action_json(
        record,
        note=await note_for(ports, record),
        questions=await asking.unanswered(ports, record),
    )


async def note_for(ports: Ports, record: ActionRecord) -> str:
    """Return the words of the person who rejected, for the agent to use."""
    outcome = record.outcome
    if not record.approval_id or outcome is None or outcome.code != "rejected":
        return ""
    found = await ports.store.approval(record.approval_id)
    if found is None:
        return ""
    return next((v.reason for v in found[1] if v.word.value == "reject"), "")


async def answer_response(ports: Ports, answer: Answer) -> Response:
    """Return what a submitted action's answer looks like over HTTP."""
    headers = answer.rate.headers() if answer.rate else {}
    if isinstance(answer.decision, Deny):
        action_id = answer.record.request.action_id if answer.record else None
        response = problems.denied(
            answer.decision, action_id=action_id, findings=findings_json(answer)
        )
    else:
        assert answer.record is not None  # noqa: S101  (only a Deny stores nothing)
        response = await record_response(ports, answer.record)
    response.headers.update(headers)
    return response


async def record_response(
    ports: Ports, record: ActionRecord, *, polled: bool = False
) -> Response:
    """Return an action with the status that its state asks for."""
    if not polled:
        refuse_lost(record)
    body = await state_json(ports, record)
    waiting = not wire.is_ended(record)
    headers = {}
    if waiting:
        headers = {
            "Location": f"/v1/actions/{record.request.action_id}",
            "Retry-After": str(body["retry_after_s"]),
        }
    open_now = waiting and record.state is not ActionState.UNKNOWN
    status = 202 if open_now and not polled else 200
    return JSONResponse(body, status_code=status, headers=headers)


async def ask_of(request: Request, caller: Caller, idempotency_key: str) -> Ask:
    """Return what the body of a request asks for."""
    body = await read(request, ActionBody)
    ports: Ports = request.app.state.ports
    return Ask(
        caller=caller,
        tool=body.tool,
        arguments=body.arguments,
        interaction_id=body.interaction,
        reason=body.reason,
        citations=tuple(body.citations),
        idempotency_key=idempotency_key,
        action_id=ports.ids.new(),
    )


def findings_json(answer: Answer) -> list[Mapping[str, str]]:
    """Return what the guards found, as codes with the argument at fault."""
    return [
        {"code": finding.code, "argument": finding.pointer}
        for finding in answer.verdict.findings
    ]


def _is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None

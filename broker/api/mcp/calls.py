"""Calls: what ``tools/call`` asks, and what its result says.

A result stands alone twice: frameworks show their model either the text or the
structured content. Waiting for a person is no error; an error is what the model may
have to do something about: a denial, or an execution that failed.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field

from broker.api import actions, wire
from broker.api.bodies import Body, Model, checked
from broker.api.mcp.listing import (
    ACTION_ID,
    OWN_TOOLS,
    AnswerQuestion,
    CancelAction,
    GetAction,
    ListMyActions,
    listed,
    names_of,
    tool_of,
)
from broker.api.mcp.words import HOLD_S_MAX, OURS, TOOL_NAME_CHARS_MAX
from broker.api.problems import hint_for
from broker.approving import asking, ending
from broker.case import Ask
from broker.core.words.action import (
    CITATIONS_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    REASON_LENGTH_MAX,
    ActionState,
)
from broker.core.words.decision import Deny
from broker.core.words.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from broker.core.words.action import ActionRecord
    from broker.core.words.subject import Caller
    from broker.flow import Answer
    from broker.ports import Ports

_ID = re.compile(ACTION_ID)
_FAILED = frozenset({ActionState.REFUSED, ActionState.FAILED})
_MOVING = frozenset({ActionState.READY, ActionState.EXECUTING})


class Extras(Body):
    """What a call may say beside its arguments: our names in ``_meta``."""

    interaction: str = Field(default="", pattern=ACTION_ID)
    idempotency_key: str = Field(
        default="", alias="idempotency-key", max_length=IDEMPOTENCY_KEY_LENGTH_MAX
    )
    reason: str = Field(default="", max_length=REASON_LENGTH_MAX)
    citations: list[str] = Field(default=[], max_length=CITATIONS_MAX)


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls, and where; ``named`` are the interactions that path and header name.

    ``tasks`` keeps what is under way until it has ended.
    """

    ports: Ports
    caller: Caller
    tasks: set[asyncio.Task[Answer]]
    named: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A result, and HTTP headers that go with it."""

    result: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


async def list_tools(context: Context) -> list[dict[str, Any]]:
    """Return the tools that this identity may call, and those about its actions."""
    names = names_of(context.ports.shelf.tools())
    granted = await actions.tools_for(context.ports, context.caller)
    return [*(listed(tool, name=names[tool.name]) for tool in granted), *OWN_TOOLS]


async def call_tool(context: Context, params: Mapping[str, Any]) -> Reply:
    """Answer ``tools/call`` within HOLD_S_MAX and what a look at the rows takes.

    Raises:
        InvalidError: a parameter is missing or wrong; ``pointer`` names it.
        BrokerError: the question could not be answered.
    """
    name, arguments = params.get("name"), params.get("arguments")
    if not isinstance(name, str) or len(name) > TOOL_NAME_CHARS_MAX:
        msg = f"name must be a text of at most {TOOL_NAME_CHARS_MAX} characters"
        raise InvalidError(msg, pointer="/name")
    if arguments is not None and not isinstance(arguments, dict):
        msg = "arguments must be an object"
        raise InvalidError(msg, pointer="/arguments")
    own = _OWN.get(name)
    if own is not None:
        return Reply(await own(context, arguments or {}))
    return await _ask(context, name, arguments or {}, extras_in(params))


def extras_in(params: Mapping[str, Any]) -> Extras:
    """Return what ``_meta`` says under our names.

    Raises:
        InvalidError: a value is wrong, or a name is not known: a misspelt
            idempotency key must not pass for none.
    """
    meta = params.get("_meta") or {}
    if not isinstance(meta, dict):
        msg = "_meta must be an object"
        raise InvalidError(msg, pointer="/_meta")
    said = {
        name.removeprefix(OURS): value
        for name, value in meta.items()
        if name.startswith(OURS)
    }
    return _checked(said, Extras, f"/_meta/{OURS.replace('/', '~1')}")


async def _ask(
    context: Context, name: str, arguments: Mapping[str, Any], extras: Extras
) -> Reply:
    loop = asyncio.get_running_loop()
    until = loop.time() + HOLD_S_MAX
    ports = context.ports
    ask = Ask(
        caller=context.caller,
        tool=tool_of(name, ports.shelf.tools()),
        arguments=arguments,
        interaction_id=_interaction(context, extras),
        reason=extras.reason,
        citations=tuple(extras.citations),
        idempotency_key=extras.idempotency_key,
        action_id=ports.ids.new(),
    )
    answer = await actions.answered(
        ports, ask, tasks=context.tasks, within_s=HOLD_S_MAX
    )
    headers = answer.rate.headers() if answer.rate else {}
    if isinstance(answer.decision, Deny):
        return Reply(_result(_denial(answer, answer.decision), error=True), headers)
    record = answer.record
    assert record is not None  # noqa: S101  (only a Deny stores nothing)
    if record.state in _MOVING:
        action_id, left_s = record.request.action_id, until - loop.time()
        record = await actions.waited(
            ports, context.caller, action_id, wait_s=max(left_s, 0)
        )
    actions.refuse_lost(record)
    failed = record.state in _FAILED
    return Reply(_result(await _state(ports, record), error=failed), headers)


def _interaction(context: Context, extras: Extras) -> str:
    """Return the interaction that is named, else the one that the token is bound to.

    Whether the caller may act there is the flow's to say.
    """
    pointer = f"/_meta/{OURS.replace('/', '~1')}interaction"
    named = {*context.named, extras.interaction} - {""}
    if any(not _ID.fullmatch(one) for one in named):
        msg = "the interaction is no id"
        raise InvalidError(msg, pointer=pointer)
    if len(named) > 1:
        msg = "two different interactions are named"
        raise InvalidError(msg, pointer=pointer)
    interaction = next(iter(named), context.caller.grant.interaction_id)
    if not interaction:
        msg = "the interaction is missing"
        hint = f"name it in _meta as {OURS}interaction, or use a token bound to it"
        raise InvalidError(msg, pointer=pointer, hint=hint)
    return interaction


async def _get_action(context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
    body = _checked(arguments, GetAction, "/arguments/")
    record = await actions.waited(
        context.ports, context.caller, body.action_id, wait_s=body.wait_s
    )
    return _result(await _state(context.ports, record))


async def _cancel_action(
    context: Context, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    body = _checked(arguments, CancelAction, "/arguments/")
    ports, caller = context.ports, context.caller
    record = await actions.own_action(ports, caller, body.action_id)
    await ending.withdraw(ports, record)
    record = await actions.own_action(ports, caller, body.action_id)
    return _result(await _state(ports, record))


async def _answer_question(
    context: Context, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    body = _checked(arguments, AnswerQuestion, "/arguments/")
    ports, caller = context.ports, context.caller
    record = await actions.own_action(ports, caller, body.action_id)
    await asking.answer(ports, record, question_id=body.question_id, text=body.answer)
    return _result(await _state(ports, record))


async def _list_my_actions(
    context: Context, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    body = _checked(arguments, ListMyActions, "/arguments/")
    found = await actions.own_actions(context.ports, context.caller, limit=body.limit)
    return _result({"actions": [wire.action_json(record) for record in found]})


_OWN: Mapping[
    str, Callable[[Context, Mapping[str, Any]], Awaitable[dict[str, Any]]]
] = {
    "get_action": _get_action,
    "answer_question": _answer_question,
    "cancel_action": _cancel_action,
    "list_my_actions": _list_my_actions,
}


async def _state(ports: Ports, record: ActionRecord) -> dict[str, Any]:
    return await actions.state_json(ports, record)


def _denial(answer: Answer, decision: Deny) -> dict[str, Any]:
    """Return a denial: codes alone, as over REST; texts and numbers are for people."""
    body: dict[str, Any] = {
        "status": ActionState.REFUSED.value,
        "code": "denied",
        "reasons": [{"code": reason.code} for reason in decision.reasons],
        "findings": actions.findings_json(answer),
        "next": hint_for(decision.reasons[0].code),
    }
    if answer.record is not None:
        body["action_id"] = answer.record.request.action_id
    return body


def _result(body: dict[str, Any], *, error: bool = False) -> dict[str, Any]:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": body,
        "isError": error,
    }


def _checked(document: Mapping[str, Any], model: type[Model], at: str) -> Model:
    try:
        return checked(dict(document), model)
    except InvalidError as error:
        field_name = error.pointer.removeprefix("/")
        detail = error.detail.removeprefix(f"{error.pointer}: ")
        msg = f"{at}{field_name}: {detail}"
        raise InvalidError(msg, pointer=f"{at}{field_name}") from None

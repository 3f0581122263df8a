"""Tools as MCP lists them, under names that models accept.

A tool's own name has dots (``orders.refund``), and MCP allows them; the functions of
model APIs are named ``[A-Za-z0-9_-]{1,64}``, and most frameworks pass a name on as it
is. So a tool is listed as ``orders_refund``, and called by either name.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from broker.api.bodies import Body
from broker.api.mcp.words import LISTED_MAX, OURS, POLL_S_MAX
from broker.core.approvals.questions import ANSWER_CHARS_MAX
from broker.core.words.effect import Effect, Tier, is_consequential

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.words.tool import Tool

ACTION_ID: Final = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_READS = frozenset({Effect.READ, Effect.DRAFT})


class GetAction(Body):
    """Arguments of ``get_action``."""

    action_id: str = Field(pattern=ACTION_ID, description="Id of an earlier call.")
    wait_s: float = Field(
        default=POLL_S_MAX,
        ge=0,
        le=POLL_S_MAX,
        description="Seconds to wait for its end.",
    )


class CancelAction(Body):
    """Arguments of ``cancel_action``."""

    action_id: str = Field(pattern=ACTION_ID, description="Id of an earlier call.")


class AnswerQuestion(Body):
    """Arguments of ``answer_question``."""

    action_id: str = Field(pattern=ACTION_ID, description="Id of an earlier call.")
    question_id: str = Field(pattern=ACTION_ID, description="As get_action named it.")
    answer: str = Field(
        min_length=1,
        max_length=ANSWER_CHARS_MAX,
        description="What you know; it is shown to the person as a model's.",
    )


class ListMyActions(Body):
    """Arguments of ``list_my_actions``."""

    limit: int = Field(
        default=10, ge=1, le=LISTED_MAX, description="How many, the newest first."
    )


def names_of(tools: Iterable[Tool]) -> dict[str, str]:
    """Return the listed name of every tool, by its own.

    What would be listed like another tool, or like one of ours, keeps its dots.
    """
    names = [tool.name for tool in tools]
    taken = Counter([*map(_flat, names), *(tool["name"] for tool in OWN_TOOLS)])
    return {name: _flat(name) if taken[_flat(name)] == 1 else name for name in names}


def tool_of(called: str, tools: Iterable[Tool]) -> str:
    """Return the own name of what was called by either name; else what was called."""
    by_listed = {listed: name for name, listed in names_of(tools).items()}
    return by_listed.get(called, called)


def listed(tool: Tool, *, name: str) -> dict[str, Any]:
    """Return a tool as ``tools/list`` shows it; the hints follow from its effect."""
    reads = tool.effect in _READS
    return {
        "name": name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": dict(tool.arguments),
        "annotations": {
            "title": tool.title,
            "readOnlyHint": reads,
            "destructiveHint": tool.tier is Tier.CONSEQUENTIAL,
            # The same consequential call again is the same action.
            "idempotentHint": reads or is_consequential(tool.effect),
        },
        "_meta": {
            f"{OURS}tool": tool.name,
            f"{OURS}effect": tool.effect.value,
            f"{OURS}tier": int(tool.tier),
        },
    }


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _own(
    name: str, title: str, description: str, *, model: type[Body], reads: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": _schema(model),
        "annotations": {
            "title": title,
            "readOnlyHint": reads,
            "destructiveHint": False,
            "idempotentHint": True,
        },
    }


def _schema(model: type[Body]) -> Mapping[str, Any]:
    """Return a model's schema without the titles that pydantic makes up."""
    schema = model.model_json_schema()
    fields = schema["properties"]
    return {
        "type": "object",
        "properties": {
            name: {key: value for key, value in about.items() if key != "title"}
            for name, about in fields.items()
        },
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


OWN_TOOLS: Final = (
    _own(
        "get_action",
        "See what became of an action",
        "Returns the state of an earlier call, and its result once it is done. Call it "
        "again after retry_after_s seconds while the status is pending_approval, "
        "executing or unknown.",
        model=GetAction,
        reads=True,
    ),
    _own(
        "answer_question",
        "Answer a person's question",
        "Answers what a person asked about a call that waits for their approval, as "
        "get_action shows under questions. Each question is answered once.",
        model=AnswerQuestion,
        reads=False,
    ),
    _own(
        "cancel_action",
        "Withdraw an action that waits",
        "Withdraws a call that waits for a person's approval. What is being executed "
        "or has ended stays as it is; the state is returned.",
        model=CancelAction,
        reads=False,
    ),
    _own(
        "list_my_actions",
        "List my newest actions",
        "Returns the newest calls of this agent with their states.",
        model=ListMyActions,
        reads=True,
    ),
)
"""Tools about actions; their names have no dot, as those of a catalogue all have."""

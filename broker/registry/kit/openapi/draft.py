"""A manifest in the making: what was inferred, and what a person is asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.registry.review import QUESTION_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

Table = dict[str, Any]

LIST_RESULT: Final = "items"
"""What the connector calls a list that is a whole answer."""


@dataclass(slots=True)
class Draft:
    """One tool, as far as its description says it."""

    name: str
    connector: str
    title: str
    description: str
    effect: str
    method: str
    path: str
    operation: str
    properties: dict[str, Table] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    query: dict[str, str] = field(default_factory=dict)
    body: Table | None = None
    needs_customer: bool = False
    uses_customer: bool = False
    objects: list[Table] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    amount: str = ""
    currency: str = ""
    idempotency_header: str = ""
    done: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    receipt: dict[str, str] = field(default_factory=dict)
    fields: list[Table] = field(default_factory=list)
    questions: list[Table] = field(default_factory=list)
    answers_nothing: bool = False
    answers_list: bool = False

    @property
    def entry(self) -> str:
        """Return the name of the connector's function."""
        return self.name.replace(".", "_")

    @property
    def effectful(self) -> bool:
        """Return whether its request can change something."""
        return self.effect not in {"read", "draft"}

    def ask(self, question_id: str, field_: str, question: str) -> None:
        """Leave a question to whoever confirms the manifest."""
        self.questions.append(
            {
                "id": question_id,
                "field": field_,
                "question": question[:QUESTION_CHARS_MAX],
                "answer": "",
            }
        )

    def document(self, source: str) -> Table:
        """Return the manifest; its review keeps it from loading."""
        made: Table = {"schema": 1, "tool": self._tool()}
        made["arguments"] = {
            "type": "object",
            "additionalProperties": False,
            "required": sorted(set(self.required)),
            "properties": self.properties,
        }
        made["binding"] = self._binding()
        made["egress"] = {"requests_max": 1, "requests": [self._request()]}
        made["receipt"] = {"request": "request", "values": self.receipt}
        made["output"] = {"fields": self.fields}
        made["review"] = {
            "source": source,
            "operation": self.operation,
            "questions": self.questions,
        }
        return made

    def _tool(self) -> Table:
        return {
            "name": self.name,
            "version": 1,
            "connector": self.connector,
            "title": self.title,
            "description": self.description,
            "effect": self.effect,
            "entry": self.entry,
            "timeout_s": 10,
        }

    def _binding(self) -> Table:
        made: Table = {"needs_customer": self.needs_customer}
        if self.amount:
            made["amount"] = self.amount
        if self.currency:
            made["currency"] = self.currency
        if self.text:
            made["text"] = self.text
        if self.objects:
            made["objects"] = self.objects
        return made

    def _request(self) -> Table:
        made: Table = {
            "id": "request",
            "method": self.method,
            "path": self.path,
            "done": self.done,
        }
        if self.refused:
            made["refused"] = self.refused
        if self.effectful:
            made["effectful"] = True
        if self.idempotency_header and self.effectful:
            made["idempotency_header"] = self.idempotency_header
            made["idempotency_kept_s"] = 0
        if self.scopes:
            made["scopes"] = self.scopes
        if self.query:
            made["query"] = self.query
        if self.body is not None:
            made["body"] = self.body
        return made


@dataclass(frozen=True, slots=True)
class Skipped:
    """An operation that is not imported, and why."""

    operation: str
    why: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import comes to."""

    drafts: tuple[Draft, ...]
    skipped: tuple[Skipped, ...]


def listed(words: Mapping[str, object] | list[str]) -> str:
    """Return names in a sentence."""
    return ", ".join(words)

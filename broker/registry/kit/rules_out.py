"""Lint rules about what leaves, what may come back, and what is released of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.core.warrants.template import places
from broker.core.words.effect import Effect, Tier
from broker.core.words.labels import Confidentiality, Integrity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.words.tool import Tool
    from broker.registry.kit.rules_in import Told

ANSWER_BYTES_MAX: Final = 262_144
"""A larger answer than this is a page of somebody's database."""

_SAYS_NOTHING = frozenset({408, 425, *range(500, 600)})
_TEXT = re.compile(
    r"^(.*_)?(text|body|notes?|comments?|message|description|subject|reason|content"
    r"|details|summary|remarks?)$"
)
_SECRET = re.compile(
    r"(^|_)(secret|token|password|passcode|cvc|cvv|pin|api_key|iban|ssn|card_number)s?$"
)


def wide_method(tool: Tool) -> Iterator[Told]:
    """Find methods that can change more than the effect admits."""
    for request in tool.requests:
        reads = tool.effect in {Effect.READ, Effect.DRAFT}
        deletes = request.method == "DELETE" and tool.effect is Effect.ANSWER
        silent = not reads and request.method != "GET" and not request.effectful
        if (reads and request.method != "GET") or deletes or silent:
            yield (
                f"egress.{request.request_id}.method",
                f"{request.method} can change something, and nothing says that it does",
            )


def no_refused(tool: Tool) -> Iterator[Told]:
    """Find effectful requests for which every bad answer would be unknown."""
    for request in tool.requests:
        if request.effectful and not request.refused:
            yield (
                f"egress.{request.request_id}.refused",
                "no status says that nothing happened, so every error stays unknown",
            )


def unsure_refused(tool: Tool) -> Iterator[Told]:
    """Find statuses that say nothing about whether it happened."""
    for request in tool.requests:
        for status in sorted(request.refused & _SAYS_NOTHING):
            if request.effectful:
                yield (
                    f"egress.{request.request_id}.refused",
                    f"{status} does not say that nothing happened",
                )


def no_key(tool: Tool) -> Iterator[Told]:
    """Find effectful requests that an upstream could do twice."""
    for request in tool.requests:
        if request.effectful and not request.idempotency_header:
            yield (
                f"egress.{request.request_id}.idempotency_header",
                "the upstream cannot tell a repeated request from a new one",
            )


def wide_budget(tool: Tool) -> Iterator[Told]:
    """Find a budget of requests that no single call can need."""
    needed = sum(request.times_max for request in tool.requests)
    if tool.requests_max > needed:
        yield (
            "egress.requests_max",
            f"one call may send {tool.requests_max} requests, its rules allow {needed}",
        )


def wide_answer(tool: Tool) -> Iterator[Told]:
    """Find answers that are larger than what one customer's record needs."""
    if tool.response_bytes_max > ANSWER_BYTES_MAX:
        yield (
            "egress.response_bytes_max",
            f"an answer may have {tool.response_bytes_max} bytes",
        )


def any_customer(tool: Tool) -> Iterator[Told]:
    """Find tools that show customers' data to interactions without a customer."""
    if tool.binding.needs_customer:
        return
    for field in tool.output:
        if field.label.confidentiality in {
            Confidentiality.CUSTOMER,
            Confidentiality.RESTRICTED,
        }:
            yield (
                f"output{field.pointer}",
                "is a customer's, and released without one being bound",
            )


def customer_not_asked(tool: Tool) -> Iterator[Told]:
    """Find requests in which nothing narrows the answer to the customer."""
    if not tool.binding.needs_customer or tool.binding.objects:
        return
    used = {
        place
        for request in tool.requests
        for part in (request.path, dict(request.query), request.body)
        for place in places(part)
    }
    if "customer" not in used:
        yield "egress", "no request names the customer or an object of theirs"


def object_not_read(tool: Tool) -> Iterator[Told]:
    """Find consequences whose receipt does not say on which object they fell."""
    if (
        tool.tier is Tier.CONSEQUENTIAL
        and tool.binding.objects
        and "object" not in tool.receipt.values
    ):
        yield "receipt.values", "does not say which object it was"


def trusted_text(tool: Tool) -> Iterator[Told]:
    """Find free text that somebody wrote, labelled as if the system had."""
    trusted = {
        Integrity.APPROVED_POLICY,
        Integrity.SYSTEM_OF_RECORD,
        Integrity.VERIFIED_CUSTOMER,
    }
    for field in tool.output:
        name = _last(field.pointer)
        free = field.data_class == "free_text" or _TEXT.search(name)
        if free and field.label.integrity in trusted:
            word = field.label.integrity.name.lower()
            yield f"output{field.pointer}", f"is somebody's text, labelled {word}"


def secret_released(tool: Tool) -> Iterator[Told]:
    """Find output that nobody should see."""
    for field in tool.output:
        if _SECRET.search(_last(field.pointer)):
            yield f"output{field.pointer}", "looks like a secret"


def _last(pointer: str) -> str:
    parts = [part for part in pointer.split("/") if part and part != "*"]
    return parts[-1] if parts else ""

"""Stage 6, execute: the order that goes out, and what its receipt means.

Owner, amount and outcome come from the edge's signed receipt over the raw upstream
response; what the connector returned is only ever released, never believed.

Source: DESIGN, chapters 3 (invariants 2, 6, 7) and 4; docs/adr/0006.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, assert_never

from broker.core.words.action import Outcome, OutcomeWord
from broker.core.words.effect import is_consequential
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.core.words.warrant import WARRANT_TTL_S_MAX, Receipt, SentState, Warrant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from broker.core.words.action import ActionRequest, Bound
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import ObjectBinding, OutputField, Tool

WARRANT_TTL_S = 5
RELEASED_VALUES_MAX = 2_000
_TOOLS_KEPT = 256

OWNER_MISMATCH = "owner_mismatch"
OBJECT_MISMATCH = "object_mismatch"
CURRENCY_MISMATCH = "currency_mismatch"
"""Alarms: the answer is about another customer, object or currency than was decided."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a warrant this one: where it goes, under which epochs, when."""

    warrant_id: str
    edge: str
    boot: str
    epochs: tuple[tuple[str, int], ...]
    idempotency_key: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RunError:
    """What the runner reported in place of a result; detail has no personal data."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a receipt means for the action, its money, its customer and its objects.

    ``post_minor_units`` is what the upstream says moved (None: nothing to post);
    ``owner`` is the customer that the upstream named; ``ceilings`` are (pointer of the
    argument, amount) pairs that bound what may ever be moved on an object.
    """

    outcome: Outcome
    post_minor_units: int | None
    owner: str
    ceilings: tuple[tuple[str, int], ...]
    alarms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleasedValue:
    """One value that the release filter let through."""

    pointer: str
    value: str | int | float | bool
    field: OutputField


@dataclass(frozen=True, slots=True)
class Release:
    """What an agent gets to see, and how many values were dropped."""

    result: Mapping[str, Any]
    values: tuple[ReleasedValue, ...]
    dropped: int


def warrant_for(
    request: ActionRequest, *, tool: Tool, interaction: Interaction, stamp: Stamp
) -> Warrant:
    """Return the order to execute exactly this decided action once, at once."""
    assert WARRANT_TTL_S <= WARRANT_TTL_S_MAX  # noqa: S101  (our own constant)
    return Warrant(
        warrant_id=stamp.warrant_id,
        action_id=request.action_id,
        tenant=interaction.tenant,
        environment=interaction.environment,
        connector=tool.connector,
        tool=tool.name,
        manifest=tool.digest,
        arguments=request.arguments,
        customer_id=interaction.customer_id if tool.binding.needs_customer else "",
        agent_id=interaction.agent_id,
        person_id=request.asked_by,
        edge=stamp.edge,
        boot=stamp.boot,
        epochs=stamp.epochs,
        idempotency_key=stamp.idempotency_key,
        issued_at=stamp.now,
        expires_at=stamp.now + timedelta(seconds=WARRANT_TTL_S),
    )


def judge(  # noqa: PLR0913  (what there is to know)
    receipt: Receipt,
    *,
    manifest: str,
    tool: Tool,
    bound: Bound,
    customer_id: str,
    error: RunError | None,
) -> Judgement:
    """Decide what happened from the receipt alone.

    Args:
        receipt: Verified, and for this action and warrant.
        manifest: Digest of the manifest that the warrant named.
        tool: The manifest of now; if it is another one, its pointers and statuses say
            nothing about this answer.
        bound: What the broker derived; the amount is what was reserved.
        customer_id: Upstream id of the interaction's customer, empty if unbound.
        error: What the runner reported, None if the connector returned a result.
    """
    failed = error or RunError("", "")
    match receipt.state:
        case SentState.NOT_SENT:
            code = failed.code or "nothing_sent"
            word = OutcomeWord.REFUSED if code == "revoked" else OutcomeWord.FAILED
            judged = _ended(word, code, failed.detail or "nothing was sent")
        case SentState.SENT if is_consequential(tool.effect):
            detail = "the request left the edge and no answer came back"
            judged = _ended(OutcomeWord.UNKNOWN, "no_answer", detail, sent=True)
        case SentState.SENT:
            code = failed.code or "no_answer"
            judged = _ended(OutcomeWord.FAILED, code, failed.detail)
        case SentState.ANSWERED if tool.digest != manifest:
            what = "answered, and the tool changed before that was read"
            judged = _unclear(what, "manifest_changed")
        case SentState.ANSWERED:
            judged = _answered(receipt, tool, bound, customer_id, failed=failed)
        case _:
            assert_never(receipt.state)
    # Whatever it comes to: nothing that alarmed the edge is left out.
    alarms = dict.fromkeys((*receipt.alarms, *judged.alarms))
    return replace(judged, alarms=tuple(alarms))


def _answered(
    receipt: Receipt,
    tool: Tool,
    bound: Bound,
    customer_id: str,
    *,
    failed: RunError,
) -> Judgement:
    request = tool.request(tool.receipt.request_id)
    consequential = is_consequential(tool.effect)
    owner, status = str(receipt.values.get("owner") or ""), receipt.upstream_status
    if tool.binding.binds_customer and customer_id and owner != customer_id:
        # Once bound, always bound; details of somebody else look like no match.
        return _ended(OutcomeWord.DONE, "no_match", "the details do not match")
    if status not in request.done:
        if status in request.refused or not consequential:
            return _not_done(receipt, tool, failed=failed)
        return _unclear(f"answered {status}, which says neither yes nor no")
    foreign = _foreign(receipt, tool, bound, customer_id)
    if not consequential and (foreign or failed.code):
        return _unread(failed, foreign=foreign)
    if OBJECT_MISMATCH in foreign or CURRENCY_MISMATCH in foreign:
        what = "answered about another object or in another currency"
        return _unclear(what, *foreign)
    posted, alarms = _posted(receipt, bound)
    code = failed.code or "done"
    return Judgement(
        outcome=Outcome(OutcomeWord.DONE, code, failed.detail, sent=consequential),
        post_minor_units=posted,
        owner="" if foreign else owner,
        ceilings=_ceilings(receipt, tool),
        alarms=(*alarms, *foreign),
    )


def _foreign(
    receipt: Receipt, tool: Tool, bound: Bound, customer_id: str
) -> tuple[str, ...]:
    """Return the alarms of an answer about something else than was decided."""
    owner = str(receipt.values.get("owner") or "")
    found = []
    if tool.binding.needs_customer and owner != customer_id:
        found.append(OWNER_MISMATCH)
    if not _same_object(receipt, tool, bound):
        found.append(OBJECT_MISMATCH)
    if bound.amount and not _same_currency(receipt, bound.amount.currency):
        found.append(CURRENCY_MISMATCH)
    return tuple(found)


def _same_object(receipt: Receipt, tool: Tool, bound: Bound) -> bool:
    """Compare the object that the answer is about with the one that was decided.

    Without it an upstream, or whoever sits in its place, could answer about another
    order and have it believed. An answer that leaves out what the manifest points at
    names no object, and so another one.
    """
    about = _about(tool)
    if "object" not in tool.receipt.values or not about:
        return True
    said = receipt.values.get("object")
    # Some upstreams write numbers where an argument is text, or the other way round.
    if isinstance(said, bool) or not isinstance(said, str | int):
        return False
    kinds = {binding.kind for binding in about}
    return str(said) in {named for kind, named in bound.objects if kind in kinds}


def _about(tool: Tool) -> tuple[ObjectBinding, ...]:
    """Return the arguments that name what an answer's object and figures are about."""
    objects = tool.binding.objects
    # One object; items and payment methods are named beside it.
    return tuple(binding for binding in objects if binding.cap) or objects[:1]


def _same_currency(receipt: Receipt, code: str) -> bool:
    """Compare codes of ISO 4217, which some upstreams write in lower case."""
    said = receipt.values.get("currency")
    return isinstance(said, str) and said.upper() == code


def _unclear(what: str, *alarms: str) -> Judgement:
    """Leave an effect unknown whose answer says neither yes nor no."""
    return _ended(
        OutcomeWord.UNKNOWN,
        "unclear_answer",
        f"the upstream {what}",
        sent=True,
        alarms=alarms,
    )


def _unread(failed: RunError, *, foreign: tuple[str, ...]) -> Judgement:
    """Give nothing of a read that failed, or that found what was not asked for."""
    if OWNER_MISMATCH in foreign:
        code, detail = "not_this_customer", "the record is not this customer's"
        return _ended(OutcomeWord.REFUSED, code, detail, alarms=foreign)
    if foreign:
        code, detail = "not_this_object", "the record is not the one that was asked for"
        return _ended(OutcomeWord.REFUSED, code, detail, alarms=foreign)
    return _ended(OutcomeWord.FAILED, failed.code, failed.detail)


def _not_done(receipt: Receipt, tool: Tool, *, failed: RunError) -> Judgement:
    """Handle an answer that says: it surely did not happen, or there is nothing."""
    status = receipt.upstream_status
    if tool.binding.binds_customer and status in tool.requests[0].refused:
        # A verification that does not match is an answer, not a failure.
        return _ended(OutcomeWord.DONE, "no_match", "the details do not match")
    consequential = is_consequential(tool.effect)
    detail = failed.detail or f"the upstream answered {status}"
    code = (
        "upstream_refused" if status in tool.requests[0].refused else "upstream_error"
    )
    return _ended(OutcomeWord.FAILED, code, detail, sent=consequential)


def _ended(
    word: OutcomeWord,
    code: str,
    detail: str,
    *,
    sent: bool = False,
    alarms: tuple[str, ...] = (),
) -> Judgement:
    return Judgement(Outcome(word, code, detail, sent=sent), None, "", (), alarms)


def _posted(receipt: Receipt, bound: Bound) -> tuple[int | None, list[str]]:
    """Return what moved by the receipt; without a usable figure, what was reserved."""
    if bound.amount is None:
        return None, []
    said = receipt.values.get("amount")
    if type(said) is not int or not 0 <= said <= AMOUNT_MINOR_UNITS_MAX:
        return bound.amount.minor_units, ["receipt_incomplete"]
    if said > bound.amount.minor_units:
        return said, ["more_than_decided"]
    return said, []


def _ceilings(receipt: Receipt, tool: Tool) -> tuple[tuple[str, int], ...]:
    """Return what bounds the sums on the objects that the receipt names."""
    paid, named = receipt.values.get("paid"), receipt.values.get("object")
    if type(paid) is not int or not isinstance(named, str) or paid < 0:
        return ()
    return tuple((binding.pointer, paid) for binding in _about(tool))


def release(tool: Tool, result: Mapping[str, Any]) -> Release:
    """Let through only what the manifest names; everything else is dropped.

    Source: DESIGN, chapter 6 (default-deny release filter).
    """
    released: dict[str, Any] = {}
    values: list[ReleasedValue] = []
    total = 0
    fields = _fields_of(tool.output)
    for parts, value in _leaves(result, ()):
        total += 1
        field = fields.get(
            tuple(None if isinstance(part, int) else part for part in parts)
        )
        if field is None or len(values) >= RELEASED_VALUES_MAX:
            continue
        values.append(ReleasedValue(_pointer(parts), value, field))
        _put(released, parts, value)
    return Release(_lists(released), tuple(values), total - len(values))


def records_of(released: Release) -> int:
    """Return how many records an agent got: the longest list in it, at least one.

    What a manifest releases of every element of a list, with ``*`` in its pointer, is
    as many records as there are elements.
    """
    counts: dict[str, int] = {}
    for one in released.values:
        if "*" in one.field.pointer.split("/"):
            counts[one.field.pointer] = counts.get(one.field.pointer, 0) + 1
    return max(counts.values(), default=1)


def _leaves(
    value: object, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str | int | float | bool]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    elif isinstance(value, str | int | float | bool):
        yield path, value


@lru_cache(maxsize=_TOOLS_KEPT)
def _fields_of(
    output: tuple[OutputField, ...],
) -> dict[tuple[str | None, ...], OutputField]:
    """Return fields by their pointers' parts; None is any element of a list."""
    found: dict[tuple[str | None, ...], OutputField] = {}
    for field in output:
        parts = field.pointer.split("/")[1:]
        names = (part.replace("~1", "/").replace("~0", "~") for part in parts)
        found.setdefault(tuple(None if one == "*" else one for one in names), field)
    return found


def _pointer(parts: tuple[str | int, ...]) -> str:
    return "".join(
        "/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts
    )


def _put(target: dict[Any, Any], parts: tuple[str | int, ...], value: object) -> None:
    """Rebuild the shape; lists are dicts keyed by index until all values are in."""
    for part in parts[:-1]:
        target = target.setdefault(part, {})
    target[parts[-1]] = value


def _lists(value: Any) -> Any:  # noqa: ANN401
    """Turn dicts keyed by integers back into lists, without the dropped elements."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(key, int) for key in value):
        return [_lists(value[key]) for key in sorted(value)]
    return {key: _lists(inner) for key, inner in value.items()}

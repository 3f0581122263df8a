"""Stage 6, execute: the order that goes out, and what its receipt means.

Owner, amount and outcome come from the edge's signed receipt over the raw upstream
response; what the connector returned is only ever released, never believed.

Source: DESIGN, chapters 3 (invariants 2, 6, 7) and 4; docs/adr/0006.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
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
    from broker.core.words.tool import OutputField, Tool

WARRANT_TTL_S = 5
RELEASED_VALUES_MAX = 2_000


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
            return _ended(word, code, failed.detail or "nothing was sent")
        case SentState.SENT:
            if is_consequential(tool.effect):
                detail = "the request left the edge and no answer came back"
                return _ended(OutcomeWord.UNKNOWN, "no_answer", detail, sent=True)
            code = failed.code or "no_answer"
            return _ended(OutcomeWord.FAILED, code, failed.detail)
        case SentState.ANSWERED:
            if tool.digest != manifest:
                what = "answered, and the tool changed before that was read"
                return _unclear(receipt, what, "manifest_changed")
            return _answered(receipt, tool, bound, customer_id, failed=failed)
        case _:
            assert_never(receipt.state)


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
        return _unclear(receipt, f"answered {status}, which says neither yes nor no")
    if bound.amount and not _same_currency(receipt, bound.amount.currency):
        return _unclear(receipt, "answered in another currency", "currency_mismatch")
    foreign = tool.binding.needs_customer and owner != customer_id
    if not consequential and (foreign or failed.code):
        return _unread(receipt, failed, foreign=foreign)
    posted, alarms = _posted(receipt, bound)
    if foreign:
        alarms.append("owner_mismatch")
    code = failed.code or "done"
    return Judgement(
        outcome=Outcome(OutcomeWord.DONE, code, failed.detail, sent=consequential),
        post_minor_units=posted,
        owner="" if foreign else owner,
        ceilings=_ceilings(receipt, tool),
        alarms=(*receipt.alarms, *alarms),
    )


def _same_currency(receipt: Receipt, code: str) -> bool:
    """Compare codes of ISO 4217, which some upstreams write in lower case."""
    said = receipt.values.get("currency")
    return isinstance(said, str) and said.upper() == code


def _unclear(receipt: Receipt, what: str, *alarms: str) -> Judgement:
    """Leave an effect unknown whose answer says neither yes nor no."""
    return _ended(
        OutcomeWord.UNKNOWN,
        "unclear_answer",
        f"the upstream {what}",
        sent=True,
        alarms=(*receipt.alarms, *alarms),
    )


def _unread(receipt: Receipt, failed: RunError, *, foreign: bool) -> Judgement:
    """Give nothing of a read that failed, or that found somebody else's record."""
    if foreign:
        return _ended(
            OutcomeWord.REFUSED,
            "not_this_customer",
            "the record is not this customer's",
            alarms=(*receipt.alarms, "owner_mismatch"),
        )
    return _ended(OutcomeWord.FAILED, failed.code, failed.detail, alarms=receipt.alarms)


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
    return _ended(
        OutcomeWord.FAILED, code, detail, sent=consequential, alarms=receipt.alarms
    )


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
    objects = tool.binding.objects
    # The figure is about one object; items and payment methods are named beside it.
    about = [binding for binding in objects if binding.cap] or objects[:1]
    return tuple((binding.pointer, paid) for binding in about)


def release(tool: Tool, result: Mapping[str, Any]) -> Release:
    """Let through only what the manifest names; everything else is dropped.

    Source: DESIGN, chapter 6 (default-deny release filter).
    """
    released: dict[str, Any] = {}
    values: list[ReleasedValue] = []
    total = 0
    for parts, value in _leaves(result, ()):
        total += 1
        field = _field_for(tool, parts)
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


def _field_for(tool: Tool, parts: tuple[str | int, ...]) -> OutputField | None:
    for field in tool.output:
        pattern = field.pointer.split("/")[1:]
        if len(pattern) == len(parts) and all(
            wanted == "*" if isinstance(part, int) else _same(wanted, part)
            for wanted, part in zip(pattern, parts, strict=True)
        ):
            return field
    return None


def _same(wanted: str, part: str) -> bool:
    return wanted.replace("~1", "/").replace("~0", "~") == part


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

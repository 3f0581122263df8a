"""Budgets over HTTP, for people: what is taken, what is left, and what the log says.

A limit is lowered at once by one person and raised by two; it never goes above what the
policy says. A budget that was frozen is released by a person, and the log says who.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import Why, save_row, who_asked
from broker.api.identity.evidence import entry_of
from broker.api.limits.shown import budget_document, reservation_document
from broker.api.security import person, person_row
from broker.core.words.budget import ReservationState
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ConflictError, InvalidError, NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.core.words.subject import Caller
from broker.registry.limits.beside import (
    LIMIT_SIGNATURE_CHARS_MAX,
    LimitRow,
    check_may_limit,
    limit_body,
    limit_id,
    lowered,
    lowers,
    parse_limit,
    proposed_by,
    raised,
)
from broker.registry.limits.release import (
    RELEASE_KIND,
    parse_release,
    release_body,
)
from broker.registry.people import check_may_see
from broker.registry.policy.books import limits_of
from broker.registry.reading import RowError
from broker.watch.books import RELEASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.api.identity.desk import Desk
    from broker.core.words.budget import BudgetRow, BudgetRule, ReservationRow
    from broker.core.words.entry import AuditEntry
    from broker.watch.books import Difference

router = APIRouter(prefix="/v1/admin", tags=["budgets"])
Someone = Annotated[Caller, Depends(person)]
REASON_CHARS_MAX = 200

_ID = r"^[0-9a-f]{4,64}$"
_UUID = r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
BudgetId = Annotated[str | None, Query(alias="budget", pattern=_ID)]


class Books(Protocol):
    """Budgets and reservations, and the log beside them."""

    async def budgets(
        self, *, budget_id: str | None, rule_id: str | None, frozen: bool
    ) -> Sequence[BudgetRow]:
        """Return budgets, newest windows first; each filter narrows."""

    async def reservations(
        self,
        *,
        budget_id: str | None,
        action_id: str | None,
        states: Sequence[ReservationState] | None,
    ) -> Sequence[ReservationRow]:
        """Return reservations, last moved first; each filter narrows."""

    async def release(self, budget_id: str, entry: AuditEntry) -> int:
        """Let a frozen budget admit again; return how many windows were frozen."""

    async def compare(self) -> tuple[int, Sequence[Difference]]:
        """Return how many entries were read, and where budgets differ from them."""


class ReleaseBody(Body):
    """Why it may admit again; without personal data, it stands in the log for good."""

    reason: str = Field(min_length=1, max_length=REASON_CHARS_MAX)


class LimitBody(Body):
    """A new limit, in minor units or as many; null takes the policy's own.

    ``signature`` is needed to raise it: a JWS of type counterfoil-limit+jwt, by the
    person's own key.
    """

    limit: int | None = Field(ge=0, le=AMOUNT_MINOR_UNITS_MAX)
    signature: str = Field(default="", max_length=LIMIT_SIGNATURE_CHARS_MAX)
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


class SecondBody(Body):
    """The second signature over a raise that somebody proposed."""

    signature: str = Field(min_length=1, max_length=LIMIT_SIGNATURE_CHARS_MAX)
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


@router.get("/budgets", summary="List budgets")
async def list_budgets(
    request: Request,
    who: Someone,
    budget: BudgetId = None,
    rule: Annotated[str | None, Query(max_length=64)] = None,
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """Return budgets, newest windows first; ``budget`` may be an id's beginning."""
    check_may_see(await person_row(_desk(request), who))
    found = await _books(request).budgets(budget_id=budget, rule_id=rule, frozen=frozen)
    return {"budgets": [budget_document(row) for row in found]}


@router.get("/reservations", summary="List reservations")
async def list_reservations(
    request: Request,
    who: Someone,
    budget: BudgetId = None,
    action: Annotated[str | None, Query(pattern=_UUID)] = None,
    state: Annotated[ReservationState | None, Query()] = None,
) -> dict[str, Any]:
    """Return reservations, last moved first."""
    check_may_see(await person_row(_desk(request), who))
    found = await _books(request).reservations(
        budget_id=budget,
        action_id=action,
        states=None if state is None else [state],
    )
    return {"reservations": [reservation_document(row) for row in found]}


@router.post(
    "/budgets/{budget_id}/release",
    summary="Release a frozen budget",
    openapi_extra=documented(ReleaseBody),
)
async def release(request: Request, who: Someone, budget_id: str) -> dict[str, Any]:
    """Let a budget admit again that was frozen because more was paid than reserved."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_limit(actor)
    body = await read(request, ReleaseBody)
    found = await _books(request).budgets(
        budget_id=budget_id, rule_id=None, frozen=False
    )
    ids = {row.budget_id for row in found}
    if budget_id not in ids:
        msg = "there is no such budget"
        raise NotFoundError(msg, hint="name it by its whole id")
    detail = {
        "what": RELEASE,
        "by": f"person:{actor.person_id}",
        "reason": body.reason,
        "budget": budget_id,
        "rule": found[0].rule_id,
    }
    if any(row.total.frozen for row in found):
        await _sign_release(desk, Why(actor, RELEASE, body.reason), budget_id, found)
    # If we die here, the budget stays frozen, and is released by asking again.
    entry = entry_of(desk, EntryKind.AUTHORITY, detail)
    freed = await _books(request).release(budget_id, entry)
    if not freed:
        msg = "this budget is not frozen"
        raise ConflictError(msg)
    return {"budget_id": budget_id, "rule": found[0].rule_id, "windows": freed}


async def _sign_release(
    desk: Desk, why: Why, budget_id: str, rows: Sequence[BudgetRow]
) -> None:
    """Sign up to which freeze this person has looked; a later one is none of theirs."""
    before = await desk.registry.get(RELEASE_KIND, budget_id)
    body = release_body(
        parse_release(before) if before else {},
        {
            write_moment(row.window_start): row.total.freezes
            for row in rows
            if row.total.freezes
        },
    )
    place = (RELEASE_KIND, budget_id, before.revision if before else 0)
    await save_row(desk, why, place=place, body=body)


@router.post("/budgets/reconcile", summary="Compare budgets with the log")
async def reconcile(request: Request, who: Someone) -> dict[str, Any]:
    """Return where budgets say something else than the log's signed entries."""
    check_may_see(await person_row(_desk(request), who))
    entries, found = await _books(request).compare()
    return {
        "entries": entries,
        "agrees": not found,
        "differences": [one.document() for one in found],
    }


@router.get("/limits", summary="List limits")
async def list_limits(request: Request, who: Someone) -> dict[str, Any]:
    """Return each budget rule, its policy's limit, and what people have set beside."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    rules = await _rules(desk)
    shown = [_limit_json(rule, await _limit(desk, rule.rule_id)) for rule in rules]
    return {"limits": shown}


@router.post(
    "/limits/{rule_id}",
    summary="Lower a limit, or propose to raise it",
    openapi_extra=documented(LimitBody),
)
async def set_limit(request: Request, who: Someone, rule_id: str) -> dict[str, Any]:
    """Lower a limit at once; to raise it takes a second person's signature."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_limit(actor)
    body = await read(request, LimitBody)
    rule, row = await _rule(desk, rule_id), await _limit(desk, rule_id)
    if rule.limit is None:
        msg = "this budget is bounded by what was paid for each object"
        raise InvalidError(msg, hint="lower per_action in the policy instead")
    if body.limit is not None and body.limit > rule.limit:
        msg = f"the policy says {rule.limit}, and no limit beside it is higher"
        raise InvalidError(msg, pointer="/limit", hint="publish another policy")
    if body.limit is not None and lowers(row, body.limit):
        changed, what = lowered(row, body.limit), "limit.lower"
    elif not body.signature:
        msg = "raising a limit takes two signatures, and yours is missing"
        raise InvalidError(msg, pointer="/signature")
    else:
        changed = proposed_by(actor, row, body.limit, body.signature)
        what = "limit.propose"
    return await _save(desk, Why(actor, what, body.reason), rule, changed)


@router.post(
    "/limits/{rule_id}/sign",
    summary="Sign a raise that somebody proposed",
    openapi_extra=documented(SecondBody),
)
async def sign_limit(request: Request, who: Someone, rule_id: str) -> dict[str, Any]:
    """Make a proposed limit hold."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_limit(actor)
    body = await read(request, SecondBody)
    rule, row = await _rule(desk, rule_id), await _limit(desk, rule_id)
    first = [row.proposed.by] if row.proposed else []
    proposer = await who_asked(desk, first[0], at=row.at) if first else None
    changed = raised(actor, row, body.signature, first=proposer)
    why = Why(actor, "limit.raise", body.reason)
    return await _save(desk, why, rule, changed, also_by=first)


async def _save(
    desk: Desk,
    why: Why,
    rule: BudgetRule,
    row: LimitRow,
    *,
    also_by: Sequence[str] = (),
) -> dict[str, Any]:
    place = ("limit", limit_id(row.rule_id), row.revision)
    saved = await save_row(
        desk, why, place=place, body=limit_body(row), also_by=also_by
    )
    return _limit_json(rule, parse_limit(saved))


async def _rules(desk: Desk) -> Sequence[BudgetRule]:
    row = await desk.registry.get("policy", "main")
    if row is None:
        msg = "there is no policy, so there are no budgets"
        raise NotFoundError(msg, hint="publish one")
    _, budgets = limits_of(row.body)
    return budgets


async def _rule(desk: Desk, rule_id: str) -> BudgetRule:
    for rule in await _rules(desk):
        if rule.rule_id == rule_id:
            return rule
    msg = "the policy has no such budget"
    raise NotFoundError(msg, hint="`counterfoil budgets limits` lists them")


async def _limit(desk: Desk, rule_id: str) -> LimitRow:
    row = await desk.registry.get("limit", limit_id(rule_id))
    try:
        return parse_limit(row) if row else LimitRow(rule_id)
    except RowError:
        msg = "the limit in force cannot be read by this version"
        raise ConflictError(msg) from None


def _limit_json(rule: BudgetRule, row: LimitRow) -> dict[str, Any]:
    known = [one for one in (rule.limit, row.limit) if one is not None]
    return {
        "rule": rule.rule_id,
        "per": sorted(scope.value for scope in rule.per),
        "unit": rule.unit,
        "window": rule.window.value,
        "policy": rule.limit,
        "set": row.limit,
        "limit": min(known) if rule.limit is not None else None,
        "per_action": rule.per_action,
        "revision": row.revision,
        "proposed": None
        if row.proposed is None
        else {
            "limit": row.proposed.limit,
            "by": row.proposed.by,
            "after": row.proposed.after,
        },
    }


def _books(request: Request) -> Books:
    books: Books = request.app.state.books
    return books


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk

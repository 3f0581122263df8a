"""Who gets notices, over HTTP: list, add, remove, try out.

People of security set them up; everybody may have mail sent to themselves. Only mail to
an address that its person named holds reject links. An address goes in and never comes
out again: it is sealed under its person's key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import Body, documented, read
from broker.api.identity.changes import Why, save_row, the_person
from broker.api.security import person, person_row
from broker.core.notices.orders import ADDRESS_CHARS_MAX
from broker.core.notices.schedule import (
    PER_HOUR_MAX,
    PER_HOUR_USUAL,
    Subscription,
)
from broker.core.words.errors import ConflictError, InvalidError, NotFoundError
from broker.core.words.notice import NoticeForm, NoticeKind
from broker.core.words.subject import Caller
from broker.notices.post import try_out
from broker.ports.notices import Address
from broker.registry.notices.subscriptions import (
    KIND,
    MAILS_MAX,
    SUBSCRIPTIONS_MAX,
    subscription_body,
)
from broker.registry.people import PersonRow, check_may_narrow, check_may_see

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.ports import Ports
    from broker.ports.notices import Mailroom

router = APIRouter(prefix="/v1/admin/notifications", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]

_WORD_CHARS = 64
_KINDS_COUNT = 8


class SubscriptionBody(Body):
    """Who gets what: mail to a person's address, anything else for a role or for all.

    ``connector`` is the edge's, and begins with notify_. ``kinds`` are asked, reminder,
    escalated, expiring, expired, answered, unknown and suspended; none means all.
    """

    form: str = Field(max_length=_WORD_CHARS)
    connector: str = Field(max_length=_WORD_CHARS)
    role: str = Field(default="", max_length=_WORD_CHARS)
    person: str = Field(default="", max_length=_WORD_CHARS)
    address: str = Field(default="", max_length=ADDRESS_CHARS_MAX)
    kinds: list[Annotated[str, Field(max_length=_WORD_CHARS)]] = Field(
        default_factory=list, max_length=_KINDS_COUNT
    )
    per_hour: int = Field(default=PER_HOUR_USUAL, ge=1, le=PER_HOUR_MAX)


@router.get("", summary="List who gets notices")
async def list_subscriptions(request: Request, who: Someone) -> dict[str, Any]:
    """Return subscriptions in force; no address is shown."""
    check_may_see(await person_row(_desk(request), who))
    found = await _room(request).rows.subscriptions()
    return {"subscriptions": [_json(one) for one in found if one.active]}


@router.post(
    "",
    status_code=201,
    summary="Have somebody told",
    openapi_extra=documented(SubscriptionBody),
)
async def add(request: Request, who: Someone) -> dict[str, Any]:
    """Add a subscription: who is told what, where, and how often at most."""
    desk, room = _desk(request), _room(request)
    actor = await person_row(desk, who)
    body = await read(request, SubscriptionBody)
    _check_may_set(actor, body.person)
    there = await room.rows.subscriptions()
    if sum(one.active for one in there) >= SUBSCRIPTIONS_MAX:
        msg = f"there are {SUBSCRIPTIONS_MAX} subscriptions"
        raise ConflictError(msg, hint="remove some")
    if body.person and sum(one.person_id == body.person for one in there) >= MAILS_MAX:
        msg = f"{MAILS_MAX} addresses of this person were named, and that is the most"
        raise ConflictError(msg, hint="use one of those")
    one = _read(body, desk.ids.new())
    await _checked(desk, one, address=body.address)
    if one.form is NoticeForm.MAIL:
        kept = await room.rows.keep_address(one.person_id, body.address)
        own = one.person_id == actor.person_id
        one = replace(_with_address(one, kept), own=own)
    why = Why(actor, "notification.add")
    place = (KIND, one.subscription_id, 0)
    await save_row(desk, why, place=place, body=subscription_body(one))
    return _json(one)


@router.post(
    "/{subscription_id}/remove",
    summary="Stop telling somebody",
    openapi_extra=documented(ReasonBody),
)
async def remove(
    request: Request, subscription_id: str, who: Someone
) -> dict[str, Any]:
    """Remove a subscription; what is on its way to it is void at once."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    reason = (await read(request, ReasonBody)).reason.strip()
    one = await _the(request, subscription_id, actor)
    gone = replace(one, active=False)
    why = Why(actor, "notification.remove", reason, narrows=True)
    place = (KIND, one.subscription_id, one.revision)
    await save_row(desk, why, place=place, body=subscription_body(gone))
    return _json(gone)


@router.post("/{subscription_id}/test", summary="Send a test")
async def send_test(
    request: Request, subscription_id: str, who: Someone
) -> dict[str, Any]:
    """Send a test notice now, once, and return what became of it."""
    actor = await person_row(_desk(request), who)
    one = await _the(request, subscription_id, actor)
    ports: Ports = request.app.state.ports
    carried = await try_out(ports, _room(request), one)
    return {
        "subscription": one.subscription_id,
        "state": carried.state.value,
        "status": carried.status,
        "code": carried.code,
    }


def _check_may_set(actor: PersonRow, person_id: str) -> None:
    """Require that somebody sets up their own mail, or may do so for others."""
    if person_id != actor.person_id:
        check_may_narrow(actor)


async def _the(
    request: Request, subscription_id: str, actor: PersonRow
) -> Subscription:
    """Return a subscription that this person may look after."""
    for one in await _room(request).rows.subscriptions():
        if one.subscription_id == subscription_id and one.active:
            _check_may_set(actor, one.person_id)
            return one
    check_may_narrow(actor)
    msg = "there is no such subscription"
    raise NotFoundError(msg)


def _read(body: SubscriptionBody, subscription_id: str) -> Subscription:
    if body.form not in {*NoticeForm}:
        msg = f"form is one of {', '.join(NoticeForm)}"
        raise InvalidError(msg, pointer="/form")
    known = {*NoticeKind} - {NoticeKind.TEST}
    if not {*body.kinds} <= known:
        msg = f"kinds are some of {', '.join(sorted(known))}"
        raise InvalidError(msg, pointer="/kinds")
    return Subscription(
        subscription_id=subscription_id,
        form=NoticeForm(body.form),
        connector=body.connector,
        role=body.role,
        person_id=body.person,
        kinds=frozenset(NoticeKind(kind) for kind in body.kinds),
        per_hour=body.per_hour,
    )


async def _checked(desk: Desk, one: Subscription, *, address: str) -> None:
    """Require what the form needs, before an address is kept for nothing."""
    mail = one.form is NoticeForm.MAIL
    if mail is not bool(one.person_id) or mail is not bool(address):
        msg = "mail needs a person and their address, and nothing else has one"
        raise InvalidError(msg, pointer="/address")
    if mail and (not address.isascii() or "@" not in address or " " in address):
        msg = "this is no plain address"
        raise InvalidError(msg, pointer="/address")
    if mail:
        await the_person(desk, one.person_id)


def _with_address(one: Subscription, kept: Address) -> Subscription:
    return replace(one, address=kept.payload_id, address_sha256=kept.sha256)


def _json(one: Subscription) -> dict[str, Any]:
    return {
        "subscription": one.subscription_id,
        "form": one.form.value,
        "connector": one.connector,
        "role": one.role or None,
        "person": one.person_id or None,
        "reject_links": one.own,
        "kinds": sorted(kind.value for kind in one.kinds),
        "per_hour": one.per_hour,
        "active": one.active,
    }


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _room(request: Request) -> Mailroom:
    room: Mailroom = request.app.state.mailroom
    return room

"""Bring notices on their way: choose who is told, and have the edge send it.

It runs beside the flow and the flow knows nothing of it: whatever is down here keeps no
action, vote or approval waiting. A notice is sent at least once, and always with the
same id.

Source: docs/notifications.md.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.approvals.links import (
    REJECT_LINK_TYP,
    RejectLink,
    link_claims,
    link_expiry,
)
from broker.core.jws import sign
from broker.core.notices.schedule import (
    REJECTABLE,
    TRIES_MAX,
    Told,
    pause_s,
    wanted,
)
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import BrokerError, UnavailableError
from broker.core.words.notice import (
    Carried,
    CarriedState,
    Notice,
    NoticeForm,
    NoticeKind,
    NoticeOrder,
)
from broker.ports.notices import Delivery

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.notices.schedule import Subscription
    from broker.core.words.approval import Approver
    from broker.ports import Ports
    from broker.ports.notices import Mailroom

POST_EVERY_S: Final = 1.0
SPREAD_AT_ONCE_MAX: Final = 100
CARRIED_AT_ONCE_MAX: Final = 8
PURGE_EVERY: Final = 600
"""Rounds between two looks for what is old."""

ORDER_S: Final = 8
UNDELIVERED: Final = "notice_undelivered"

_PAUSE_WITHOUT_EDGE_S: Final = 5.0
_log = structlog.get_logger("notices")


async def post_for_ever(ports: Ports, room: Mailroom) -> None:
    """Post until cancelled; a part that is down only delays it."""
    for number in count():
        await asyncio.sleep(POST_EVERY_S)
        try:
            if number % PURGE_EVERY == 0:
                await room.rows.purge()
            await post(ports, room)
        except BrokerError as error:
            _log.info("notices_wait", code=error.code, detail=error.detail)
        except Exception:  # noqa: BLE001  (logged; the next round comes)
            _log.exception("notices_failed")


async def post(ports: Ports, room: Mailroom) -> int:
    """Do one round; return how many deliveries were tried."""
    await room.rows.expiring()
    fresh = await room.rows.fresh(limit=SPREAD_AT_ONCE_MAX)
    if fresh:
        people = await ports.authority.approvers()
        known = await room.rows.subscriptions()
        for told in fresh:
            to = [one for one in known if wanted(one, told, people=people)]
            await room.rows.spread(told, to)
    due = await room.rows.take(limit=CARRIED_AT_ONCE_MAX)
    if due:
        known = await room.rows.subscriptions()
        by_id = {one.subscription_id: one for one in known}
        await asyncio.gather(
            *(_deliver(ports, room, one, by_id.get(one.subscription_id)) for one in due)
        )
    return len(due)


async def try_out(ports: Ports, room: Mailroom, one: Subscription) -> Carried:
    """Send a test to one subscriber, at once and once.

    Raises:
        ExecutorUnavailableError: the edge does not answer.
    """
    told = Told(
        notice_id=ports.ids.new(),
        kind=NoticeKind.TEST,
        topic=ports.ids.new(),
        at=ports.clock.now(),
    )
    return await _carried(
        ports, room, one, Delivery("", one.subscription_id, 1, 0, told)
    )


async def _deliver(
    ports: Ports, room: Mailroom, delivery: Delivery, one: Subscription | None
) -> None:
    """Send one; whatever happens to it happens to no other."""
    try:
        if one is None or not one.active:
            gone = Carried(CarriedState.REFUSED, 0, "removed")
            await room.rows.done(delivery, gone, state="moot", pause_s=0.0, entries=())
            return
        try:
            carried = await _carried(ports, room, one, delivery)
        except UnavailableError as error:
            carried = Carried(CarriedState.LATER, 0, error.code.replace("-", "_"))
        await _done(ports, room, delivery, carried)
    except BrokerError as error:
        # If we die here, its lease lapses and it is sent again, with the same id.
        _log.info("notice_waits", code=error.code, detail=error.detail)


async def _done(
    ports: Ports, room: Mailroom, delivery: Delivery, carried: Carried
) -> None:
    over = carried.state is not CarriedState.LATER or delivery.tries >= TRIES_MAX
    if not over:
        wait_s = pause_s(delivery.tries, chance=room.chance())
        await room.rows.done(
            delivery, carried, state="waiting", pause_s=wait_s, entries=()
        )
        return
    state = "given_up" if carried.state is CarriedState.LATER else carried.state.value
    entries = () if state == "taken" else (_alarm(ports, room, delivery, carried),)
    await room.rows.done(delivery, carried, state=state, pause_s=0.0, entries=entries)
    if entries:
        more = {"subscription": delivery.subscription_id, "code": carried.code}
        room.alarm(UNDELIVERED, more)


async def _carried(
    ports: Ports, room: Mailroom, one: Subscription, delivery: Delivery
) -> Carried:
    to = ""
    if one.form is NoticeForm.MAIL:
        to = await room.rows.address(one)
        if not to:
            return Carried(CarriedState.REFUSED, 0, "no_address")
    edge, boot = await room.courier.address()
    notice = await _notice(ports, room, one, delivery)
    epochs = await room.rows.epochs(one.subscription_id)
    now = ports.clock.now()
    order = NoticeOrder(
        order_id=ports.ids.new(),
        tenant=room.tenant,
        environment=room.environment,
        connector=one.connector,
        form=one.form,
        to=to,
        notice=notice,
        edge=edge,
        boot=boot,
        epochs=epochs,
        issued_at=now,
        expires_at=now + timedelta(seconds=ORDER_S),
    )
    return await room.courier.carry(order)


async def _notice(
    ports: Ports, room: Mailroom, one: Subscription, delivery: Delivery
) -> Notice:
    told, now = delivery.told, ports.clock.now()
    about_approval = told.kind in {*REJECTABLE, NoticeKind.EXPIRED}
    path = f"/console/approvals/{told.topic}" if about_approval else "/console"
    reject = ""
    # Whoever reads the mail can say no in this person's name, so nobody else may choose
    # where it goes.
    if one.form is NoticeForm.MAIL and one.own and told.kind in REJECTABLE:
        reject = await _reject_link(ports, room, one.person_id, told, now)
    return Notice(
        notice_id=told.notice_id,
        kind=told.kind,
        at=told.at,
        topic=told.topic,
        link=room.issuer + path,
        tool=told.tool,
        role=told.role,
        amount=told.amount,
        expires_at=told.expires_at,
        reject_link=reject,
        held_back=delivery.held_back,
    )


async def _reject_link(
    ports: Ports, room: Mailroom, person_id: str, told: Told, now: datetime
) -> str:
    """Return a link for a person who may say no to it; nothing for anybody else."""
    people = await ports.authority.approvers()
    found = await ports.desk.find(told.topic)
    digest = await room.rows.digest(told.topic)
    person: Approver | None = people.get(person_id)
    if (
        found is None
        or person is None
        or not person.active
        or not digest
        or person_id in found.barred
        or person.roles.isdisjoint(found.roles)
        or found.expires_at <= now
    ):
        return ""
    link = RejectLink(
        link_id=ports.ids.new(),
        approval_id=told.topic,
        person_id=person_id,
        digest=digest,
        expires_at=link_expiry(now, approval_expires_at=found.expires_at),
    )
    token = sign(link_claims(link), key=room.link_key, typ=REJECT_LINK_TYP)
    return f"{room.issuer}/console/reject?t={token}"


def _alarm(
    ports: Ports, room: Mailroom, delivery: Delivery, carried: Carried
) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=EntryKind.ALARM,
        at=ports.clock.now(),
        tenant=room.tenant,
        environment=room.environment,
        detail={
            "alarm": UNDELIVERED,
            "notice": delivery.told.notice_id,
            "kind": delivery.told.kind.value,
            "subscription": delivery.subscription_id,
            "tries": delivery.tries,
            "status": carried.status,
            "code": carried.code,
        },
        replica=ports.replica,
    )

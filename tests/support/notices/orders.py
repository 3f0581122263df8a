"""Notices and orders, right or broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.core.words.money import Money
from broker.core.words.notice import Notice, NoticeForm, NoticeKind, NoticeOrder

ISSUER = "http://broker.test"
AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOTICE_ID = "0197a000-0000-7000-8000-00000000e001"
ORDER_ID = "0197a000-0000-7000-8000-00000000e002"
APPROVAL_ID = "0197a000-0000-7000-8000-00000000e003"


def notice(**changes: Any) -> Notice:
    plain = Notice(
        notice_id=NOTICE_ID,
        kind=NoticeKind.ASKED,
        at=AT,
        topic=APPROVAL_ID,
        link=f"{ISSUER}/console/approvals/{APPROVAL_ID}",
        tool="orders.refund",
        role="supervisor",
        amount=Money(31_000, "USD"),
        expires_at=AT + timedelta(hours=24),
    )
    return replace(plain, **changes)


def order(**changes: Any) -> NoticeOrder:
    plain = NoticeOrder(
        order_id=ORDER_ID,
        tenant="demo",
        environment="dev",
        connector="notify_ops",
        form=NoticeForm.EVENT,
        to="",
        notice=notice(),
        edge="edge-1",
        boot="boot-1",
        epochs=(("subscription:ops", 0),),
        issued_at=AT,
        expires_at=AT + timedelta(seconds=5),
    )
    return replace(plain, **changes)

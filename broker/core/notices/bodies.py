"""The templates of notices: one event, one mail, one line of chat for every kind.

The edge fills them from a verified order, so that a broker can have nothing else sent
than these sentences with a reference, a tool, an amount and a link.

Source: CloudEvents 1.0 (structured JSON); docs/notifications.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.words.moment import write_moment
from broker.core.words.notice import NoticeForm, NoticeKind

if TYPE_CHECKING:
    from broker.core.words.notice import Notice, NoticeOrder

EVENT_TYPE: Final = "counterfoil."
EVENT_CONTENT: Final = b"application/cloudevents+json"
JSON_CONTENT: Final = b"application/json"

_ABOUT: Final = {
    NoticeKind.ASKED: ("approval.asked", "A signature is needed"),
    NoticeKind.REMINDER: ("approval.reminder", "A signature is still needed"),
    NoticeKind.ESCALATED: ("approval.escalated", "A signature is needed from you now"),
    NoticeKind.EXPIRING: ("approval.expiring", "An approval is about to expire"),
    NoticeKind.EXPIRED: ("approval.expired", "An approval expired unsigned"),
    NoticeKind.ANSWERED: ("approval.answered", "Your question was answered"),
    NoticeKind.UNKNOWN: ("action.unknown", "Nobody knows what came of an action"),
    NoticeKind.SUSPENDED: ("right.suspended", "A right to approve was suspended"),
    NoticeKind.TEST: ("notification.test", "This is a test of a notification channel"),
}


def body_of(order: NoticeOrder, *, source: str) -> dict[str, Any]:
    """Return what is sent for an order, as JSON; a mail is ``to, subject, text``.

    ``source`` is the broker's issuer, which signed the order.
    """
    match order.form:
        case NoticeForm.EVENT:
            return _event(order.notice, source)
        case NoticeForm.MAIL:
            subject, text = _mail(order.notice)
            return {"to": order.to, "subject": subject, "text": text}
        case NoticeForm.CHAT:
            return {"text": " ".join(_lines(order.notice))}


def content_type(form: NoticeForm) -> bytes:
    """Return the media type of a form's body."""
    return EVENT_CONTENT if form is NoticeForm.EVENT else JSON_CONTENT


def event_type(kind: NoticeKind) -> str:
    """Return the ``type`` of a kind's event."""
    return EVENT_TYPE + _ABOUT[kind][0]


def _event(notice: Notice, source: str) -> dict[str, Any]:
    amount = notice.amount
    data: dict[str, Any] = {
        "reference": notice.topic,
        "tool": notice.tool or None,
        "role": notice.role or None,
        "amount_minor_units": amount.minor_units if amount else None,
        "currency": amount.currency if amount else None,
        "expires_at": write_moment(notice.expires_at) if notice.expires_at else None,
        "link": notice.link,
        "held_back": notice.held_back,
    }
    if notice.reject_link:
        data["reject_link"] = notice.reject_link
    return {
        "specversion": "1.0",
        "id": notice.notice_id,
        "source": source,
        "type": event_type(notice.kind),
        "subject": notice.topic,
        "time": write_moment(notice.at),
        "datacontenttype": "application/json",
        "data": data,
    }


def _mail(notice: Notice) -> tuple[str, str]:
    amount = f": {notice.amount}" if notice.amount else ""
    subject = f"[Counterfoil] {_ABOUT[notice.kind][1]}{amount}"
    lines = _lines(notice)
    if notice.reject_link:
        lines.append(f"To reject it without signing in: {notice.reject_link}")
    lines.append("A mail approves nothing: look at the card, and sign there.")
    return subject, "\n\n".join(lines) + "\n"


def _lines(notice: Notice) -> list[str]:
    what = f"{_ABOUT[notice.kind][1]}."
    parts = [
        f"tool {notice.tool}" if notice.tool else "",
        f"amount {notice.amount}" if notice.amount else "",
        f"role {notice.role}" if notice.role else "",
        f"reference {notice.topic}",
        f"until {write_moment(notice.expires_at)}" if notice.expires_at else "",
    ]
    lines = [what, "; ".join(part for part in parts if part) + "."]
    lines.append(f"Look at it: {notice.link}")
    if notice.held_back:
        lines.append(f"{notice.held_back} more were not sent, to make no storm.")
    return lines

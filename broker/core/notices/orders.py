"""Write and read what a notice order and its receipt say, as claims of a JWS.

As with warrants, a claim set becomes a value or is refused whole, and what could make a
notice say something else than its kind, an amount and a reference has no claim.

Source: DESIGN, chapter 3 (invariant 2); docs/notifications.md.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from broker.core.words.money import Money
from broker.core.words.notice import (
    NOTICE_CONNECTOR,
    Carried,
    CarriedState,
    Notice,
    NoticeForm,
    NoticeKind,
    NoticeOrder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK_CHARS_MAX: Final = 2_048
ADDRESS_CHARS_MAX: Final = 254
HELD_BACK_MAX: Final = 1_000_000
EPOCHS_MAX: Final = 4
TIME_MS_MAX: Final = 2**53 - 1

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WORD = re.compile(r"[a-z0-9_.:-]{0,100}")
_PLACE = re.compile(r"[\x21-\x7e]{1,200}")
_CONNECTOR = re.compile(rf"{NOTICE_CONNECTOR}[a-z0-9_]{{1,50}}")
_LINK = re.compile(r"https?://[\x21-\x7e]+")
_TO = re.compile(r"[\x21-\x7e]*")
_CODE = re.compile(r"[a-z_]{0,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

_ORDER = frozenset(
    {
        "jti",
        "iss",
        "aud",
        "boot",
        "iat_ms",
        "exp_ms",
        "tenant",
        "environment",
        "connector",
        "form",
        "to",
        "epochs",
        "notice",
    }
)
_NOTICE = frozenset(
    {
        "id",
        "kind",
        "at_ms",
        "topic",
        "link",
        "tool",
        "role",
        "amount_minor_units",
        "currency",
        "expires_ms",
        "reject_link",
        "held_back",
    }
)
_RECEIPT = frozenset({"iss", "boot", "order", "iat_ms", "state", "status", "code"})


class NoticeError(ValueError):
    """Claims that are no order or receipt; the text names the claim only."""


def order_claims(order: NoticeOrder, *, issuer: str) -> dict[str, Any]:
    """Return the claims of an order; times are cut to whole milliseconds."""
    notice = order.notice
    amount = notice.amount
    return {
        "jti": order.order_id,
        "iss": issuer,
        "aud": order.edge,
        "boot": order.boot,
        "iat_ms": _to_ms(order.issued_at),
        "exp_ms": _to_ms(order.expires_at),
        "tenant": order.tenant,
        "environment": order.environment,
        "connector": order.connector,
        "form": order.form.value,
        "to": order.to,
        "epochs": dict(order.epochs),
        "notice": {
            "id": notice.notice_id,
            "kind": notice.kind.value,
            "at_ms": _to_ms(notice.at),
            "topic": notice.topic,
            "link": notice.link,
            "tool": notice.tool,
            "role": notice.role,
            "amount_minor_units": amount.minor_units if amount else None,
            "currency": amount.currency if amount else None,
            "expires_ms": _to_ms(notice.expires_at) if notice.expires_at else None,
            "reject_link": notice.reject_link,
            "held_back": notice.held_back,
        },
    }


def parse_order(claims: Mapping[str, Any]) -> NoticeOrder:
    """Read an order from verified claims.

    Raises:
        NoticeError: A claim is missing, unknown or malformed, a link leads elsewhere
            than to the issuer's console, or the life is too long.
    """
    _exactly(claims, _ORDER)
    issuer = _form(claims, "iss", _LINK, LINK_CHARS_MAX)
    try:
        form = NoticeForm(claims["form"])
        return NoticeOrder(
            order_id=_form(claims, "jti", _ID),
            tenant=_form(claims, "tenant", _PLACE),
            environment=_form(claims, "environment", _PLACE),
            connector=_form(claims, "connector", _CONNECTOR),
            form=form,
            to=_to(claims, form),
            notice=_notice(claims["notice"], issuer=issuer),
            edge=_form(claims, "aud", _PLACE),
            boot=_form(claims, "boot", _PLACE),
            epochs=_epochs(claims["epochs"]),
            issued_at=_time(claims, "iat_ms"),
            expires_at=_time(claims, "exp_ms"),
        )
    except NoticeError:
        raise
    except (ValueError, TypeError) as error:
        raise NoticeError(str(error)) from None


def receipt_claims(
    carried: Carried, *, order_id: str, edge: str, boot: str, now: datetime
) -> dict[str, Any]:
    """Return the claims of a receipt for an order."""
    return {
        "iss": edge,
        "boot": boot,
        "order": order_id,
        "iat_ms": _to_ms(now),
        "state": carried.state.value,
        "status": carried.status,
        "code": carried.code,
    }


def parse_receipt(claims: Mapping[str, Any], *, order_id: str) -> Carried:
    """Read a receipt from verified claims.

    Raises:
        NoticeError: It is malformed, or for another order.
    """
    _exactly(claims, _RECEIPT)
    status = claims["status"]
    if type(status) is not int or not 0 <= status < 1_000:  # noqa: PLR2004  (a status)
        _refuse("status")
    if _form(claims, "order", _ID) != order_id:
        _refuse("order")
    try:
        state = CarriedState(claims["state"])
    except ValueError:
        _refuse("state")
    return Carried(state, status, _form(claims, "code", _CODE))


def _notice(said: object, *, issuer: str) -> Notice:
    if not isinstance(said, dict):
        _refuse("notice")
    _exactly(said, _NOTICE)
    held_back = said["held_back"]
    if type(held_back) is not int or not 0 <= held_back <= HELD_BACK_MAX:
        _refuse("held_back")
    return Notice(
        notice_id=_form(said, "id", _ID),
        kind=NoticeKind(said["kind"]),
        at=_time(said, "at_ms"),
        topic=_form(said, "topic", _ID),
        link=_link(said, "link", issuer),
        tool=_form(said, "tool", _WORD),
        role=_form(said, "role", _WORD),
        amount=_amount(said),
        expires_at=None if said["expires_ms"] is None else _time(said, "expires_ms"),
        reject_link=_link(said, "reject_link", issuer, empty=True),
        held_back=held_back,
    )


def _amount(said: Mapping[str, Any]) -> Money | None:
    units, currency = said["amount_minor_units"], said["currency"]
    if units is None and currency is None:
        return None
    if type(units) is not int or not isinstance(currency, str):
        _refuse("amount_minor_units")
    return Money(units, currency)


def _to(claims: Mapping[str, Any], form: NoticeForm) -> str:
    to = _form(claims, "to", _TO, ADDRESS_CHARS_MAX)
    if bool(to) is not (form is NoticeForm.MAIL):
        _refuse("to")
    return to


def _link(
    said: Mapping[str, Any], name: str, issuer: str, *, empty: bool = False
) -> str:
    if empty and said[name] == "":
        return ""
    link = _form(said, name, _LINK, LINK_CHARS_MAX)
    # A notice that leads anywhere else would be somebody's bait.
    if not link.startswith(f"{issuer.rstrip('/')}/console"):
        _refuse(name)
    return link


def _epochs(said: object) -> tuple[tuple[str, int], ...]:
    if (
        not isinstance(said, dict)
        or len(said) > EPOCHS_MAX
        or not all(
            _WORD.fullmatch(scope) and type(epoch) is int and 0 <= epoch <= TIME_MS_MAX
            for scope, epoch in said.items()
        )
    ):
        _refuse("epochs")
    return tuple(sorted(said.items()))


def _form(
    claims: Mapping[str, Any], name: str, form: re.Pattern[str], most: int = 200
) -> str:
    value = claims[name]
    if not isinstance(value, str) or len(value) > most or not form.fullmatch(value):
        _refuse(name)
    return value


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims[name]
    if type(value) is not int or not 0 <= value <= TIME_MS_MAX:
        _refuse(name)
    try:
        return _EPOCH + value * _MS
    except OverflowError:
        _refuse(name)


def _exactly(claims: Mapping[str, Any], names: frozenset[str]) -> None:
    wrong = sorted(frozenset(claims) ^ names)
    if wrong:
        msg = f"claim {wrong[0][:100]!r} is missing or not known"
        raise NoticeError(msg)


def _refuse(name: str) -> NoReturn:
    msg = f"claim {name!r} is malformed"
    raise NoticeError(msg) from None


def _to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS

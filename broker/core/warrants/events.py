"""What an edge says of itself for the record: changes to credentials, and refreshes.

The edge may not write the log. It signs what happened with its receipt key, together
with the change and in the same transaction; a broker verifies it and records it. Never
a secret stands in it, nor its length or hash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.warrants.orders import OrderError, is_id

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_TEXT_CHARS_MAX: Final = 200
EVENT_DETAIL_FIELDS_MAX: Final = 16
EVENT_INTEGER_MAX: Final = 2**53 - 1

_CLAIMS = frozenset(
    {"jti", "iss", "iat_ms", "kind", "tenant", "environment", "connector", "detail"}
)
_TEXT = re.compile(rf"[^\x00-\x1f\x7f]{{0,{EVENT_TEXT_CHARS_MAX}}}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class EdgeEventKind(StrEnum):
    """What happened to a connector's credential."""

    ADDED = "added"
    TESTED = "tested"
    SWITCHED = "switched"
    ROLLED_BACK = "rolled_back"
    REMOVED = "removed"
    REFRESHED = "refreshed"
    REFRESH_FAILED = "refresh_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeEvent:
    """One thing that an edge did with a credential.

    ``detail`` has short texts, integers, booleans and null only: the version, its kind,
    hosts, who did it by their system user, a test's result.
    """

    event_id: str
    edge: str
    at: datetime
    kind: EdgeEventKind
    tenant: str
    environment: str
    connector: str
    detail: Mapping[str, Any]


def event_claims(event: EdgeEvent) -> dict[str, Any]:
    """Return the claims of an event; its time is cut to whole milliseconds."""
    return {
        "jti": event.event_id,
        "iss": event.edge,
        "iat_ms": (event.at - _EPOCH) // _MS,
        "kind": event.kind.value,
        "tenant": event.tenant,
        "environment": event.environment,
        "connector": event.connector,
        "detail": dict(event.detail),
    }


def parse_event(claims: Mapping[str, Any]) -> EdgeEvent:
    """Read an event from verified claims.

    Raises:
        OrderError: A claim is missing, unknown or malformed.
    """
    if frozenset(claims) != _CLAIMS:
        msg = "the event has other claims"
        raise OrderError(msg)
    detail, at = claims["detail"], claims["iat_ms"]
    good = (
        all(is_id(claims[name]) for name in ("jti", "iss"))
        and all(_is_text(claims[name]) for name in ("tenant", "environment"))
        and isinstance(claims["connector"], str)
        and _NAME.fullmatch(claims["connector"]) is not None
        and claims["kind"] in set(EdgeEventKind)
        and isinstance(detail, dict)
        and len(detail) <= EVENT_DETAIL_FIELDS_MAX
        and all(_NAME.fullmatch(name) and _is_scalar(detail[name]) for name in detail)
        and _is_integer(at)
    )
    if not good:
        msg = "a claim of the event is malformed"
        raise OrderError(msg)
    try:
        moment = _EPOCH + at * _MS
    except OverflowError:
        msg = "the event's time is out of range"
        raise OrderError(msg) from None
    return EdgeEvent(
        event_id=claims["jti"],
        edge=claims["iss"],
        at=moment,
        kind=EdgeEventKind(claims["kind"]),
        tenant=claims["tenant"],
        environment=claims["environment"],
        connector=claims["connector"],
        detail=dict(detail),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def _is_integer(value: object) -> bool:
    return type(value) is int and 0 <= value <= EVENT_INTEGER_MAX


def _is_scalar(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool)
        or _is_text(value)
        or _is_integer(value)
    )

"""Take what a receipt states from the raw upstream response, and sign it.

The connector never touches these values: they come from the bytes that the upstream
sent, by the pointers of the manifest that the warrant names.

Source: RFC 6901 (JSON pointer); DESIGN, chapter 3 (invariant 7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError, parse_json
from broker.core.jws import sign
from broker.core.warrants.orders import (
    Hello,
    hello_claims,
    is_receipt_value,
    receipt_claims,
)
from broker.core.words.warrant import EDGE_HELLO_TYP, RECEIPT_TYP, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.words.tool import Find
    from broker.core.words.warrant import SentState
    from broker.edge.identity import Identity

RESPONSE_DEPTH_MAX: Final = 64

NOT_JSON: Final = "not_json"
VALUE_UNUSABLE: Final = "value_unusable"

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a warrant's requests, whoever asks and whenever."""

    warrant: str
    action: str
    state: SentState
    upstream_status: int
    values: Mapping[str, Any]
    requests: tuple[Mapping[str, Any], ...]
    alarms: tuple[str, ...]


class _Missing:
    """Stands for what a pointer does not find."""


_MISSING: Final = _Missing()


def extract(
    body: bytes,
    pointers: Mapping[str, str],
    *,
    find: Find | None = None,
    wanted: object = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values that the pointers find, and alarms for what is unusable.

    With ``find`` they start at the one element of its list that is marked with
    ``wanted``; none are taken where there is no such element, or more than one.

    A body with two meanings (a key twice, a number beyond 2^53) gives no values at all;
    a value that is no text, integer, true, false or null is left out. What a pointer
    does not find is absent without an alarm: the judge decides what is needed.
    """
    if not pointers and find is None:
        return {}, ()
    try:
        document = parse_json(
            body, bytes_max=len(body), depth_max=RESPONSE_DEPTH_MAX, floats=True
        )
    except CanonicalError:
        return {}, (NOT_JSON,)
    values: dict[str, Any] = {}
    alarms: tuple[str, ...] = ()
    if find is not None:
        elements = _at(document, find.list)
        if not isinstance(elements, list):
            return {}, (VALUE_UNUSABLE,)
        marked = [one for one in elements if _same(_at(one, find.mark), wanted)]
        values = {"found": len(marked), "more": _goes_on(document, find.more)}
        if len(marked) != 1:
            return values, ()
        document = marked[0]
    for name, pointer in pointers.items():
        found = _at(document, pointer)
        if found is _MISSING:
            continue
        if is_receipt_value(found):
            values[name] = found
        else:
            alarms = (VALUE_UNUSABLE,)
    return values, alarms


def _at(document: object, pointer: str) -> object:
    """Return what an RFC 6901 pointer finds, or _MISSING."""
    here = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here.get(name, _MISSING)
        elif isinstance(here, list) and _INDEX.fullmatch(name):
            index = int(name)
            here = here[index] if index < len(here) else _MISSING
        else:
            return _MISSING
    return here


def _same(found: object, wanted: object) -> bool:
    return type(found) is type(wanted) and found == wanted


def _goes_on(document: object, pointer: str) -> bool:
    """Return whether a list may have more than was sent; what is unclear may."""
    if not pointer:
        return False
    found = _at(document, pointer)
    return not (found is False or found is None or found is _MISSING or found == "")


def sign_receipt(facts: Facts, *, identity: Identity, nonce: str, now: datetime) -> str:
    """Return a signed receipt of the facts as they are now."""
    receipt = Receipt(
        warrant_id=facts.warrant,
        action_id=facts.action,
        edge=identity.edge,
        boot=identity.boot,
        nonce=nonce,
        state=facts.state,
        upstream_status=facts.upstream_status,
        values=facts.values,
        requests=facts.requests,
        alarms=facts.alarms,
        issued_at=now,
    )
    return sign(receipt_claims(receipt), key=identity.key, typ=RECEIPT_TYP)


def sign_hello(*, identity: Identity, nonce: str, now: datetime) -> str:
    """Return a signed word of which edge process is here."""
    hello = Hello(edge=identity.edge, boot=identity.boot, nonce=nonce, issued_at=now)
    return sign(hello_claims(hello), key=identity.key, typ=EDGE_HELLO_TYP)

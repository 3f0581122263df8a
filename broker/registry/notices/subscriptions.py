"""Subscriptions: who gets which notices, in which form, through which connector.

An address is personal data: the row names where it lies sealed, and what its ciphertext
hashes to, so that nobody who writes to the database redirects a mail. By whom the row
is says whether the person named the address themselves.

Source: DESIGN, chapter 3 (invariant 11).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker.core.notices.schedule import PER_HOUR_MAX, Subscription
from broker.core.words.notice import NOTICE_CONNECTOR, NoticeForm, NoticeKind
from broker.registry.people import Role
from broker.registry.reading import RowError, items, number, only, text, word

if TYPE_CHECKING:
    from broker.registry.authority import AuthorityRow

KIND: Final = "subscription"
SUBSCRIPTIONS_MAX: Final = 500
MAILS_MAX: Final = 20
"""Addresses that were ever named for one person: anybody may name their own."""


_CONNECTOR = re.compile(rf"{NOTICE_CONNECTOR}[a-z0-9_]{{1,50}}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset(
    {
        "form",
        "connector",
        "role",
        "person",
        "kinds",
        "per_hour",
        "address",
        "address_sha256",
        "status",
    }
)


def parse_subscription(row: AuthorityRow) -> Subscription:
    """Read a subscription out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range, or they do not agree.
    """
    body = row.body
    only(body, _FIELDS)
    form = NoticeForm(word(body, "form", {*NoticeForm}))
    kinds = items(body, "kinds")
    if not {*kinds} <= {*NoticeKind} - {NoticeKind.TEST}:
        msg = "kinds are some of those that happen"
        raise RowError(msg)
    found = Subscription(
        subscription_id=row.row_id,
        form=form,
        connector=text(body, "connector"),
        role=word(body, "role", {"", *Role}),
        person_id=text(body, "person", empty=True),
        kinds=frozenset(NoticeKind(kind) for kind in kinds),
        per_hour=number(body, "per_hour", low=1, high=PER_HOUR_MAX),
        address=text(body, "address", empty=True),
        address_sha256=text(body, "address_sha256", empty=True),
        own=row.by == (f"person:{body['person']}",),
        active=word(body, "status", {"active", "removed"}) == "active",
        revision=row.revision,
    )
    if not _CONNECTOR.fullmatch(found.connector):
        msg = f"connector is a name that begins with {NOTICE_CONNECTOR}"
        raise RowError(msg)
    _check_mail(found)
    return found


def subscription_body(one: Subscription) -> dict[str, Any]:
    """Return the body that `parse_subscription` reads."""
    return {
        "form": one.form.value,
        "connector": one.connector,
        "role": one.role,
        "person": one.person_id,
        "kinds": sorted(kind.value for kind in one.kinds),
        "per_hour": one.per_hour,
        "address": one.address,
        "address_sha256": one.address_sha256,
        "status": "active" if one.active else "removed",
    }


def _check_mail(one: Subscription) -> None:
    """Require that mail goes to one person at one address, and nothing else does."""
    whole = (
        _UUID.fullmatch(one.person_id)
        and _UUID.fullmatch(one.address)
        and _DIGEST.fullmatch(one.address_sha256)
        and not one.role
    )
    nothing = not (one.person_id or one.address or one.address_sha256)
    if not (whole if one.form is NoticeForm.MAIL else nothing):
        msg = "mail goes to one person at their address, and nothing else does"
        raise RowError(msg)

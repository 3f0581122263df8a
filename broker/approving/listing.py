"""Lists of what waits for a person: by expiry or amount, of a customer, agent or tool.

A page says where the next one begins, so that a list of any length is read in steps and
none of them costs more than the first.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from broker.approving.voting import person_of
from broker.core import approve
from broker.core.approvals.votes import is_id
from broker.core.words.approval import ApprovalRequest
from broker.core.words.decision import Quorum, Rung
from broker.core.words.errors import InvalidError
from broker.ports.queue import Listing, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.approval import Approver
    from broker.core.words.decision import Reason
    from broker.core.words.subject import Caller
    from broker.ports import OnDesk, Ports

PAGE_MAX: Final = 200
"""Most approvals on one page."""

FILTER_CHARS_MAX: Final = 128
"""Longest text that a list can be narrowed to."""

CURSOR_CHARS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants to see; ``cursor`` is where the page before said to go on."""

    limit: int = PAGE_MAX
    order: Order = Order.EXPIRY
    customer_ref: str = ""
    agent_id: str = ""
    tool: str = ""
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval in a person's list; ``refusal`` says why they may not sign it."""

    desk: OnDesk
    refusal: Reason | None


@dataclass(frozen=True, slots=True)
class PageOf:
    """Some of what waits, and the cursor of what follows; empty if nothing does."""

    waiting: Sequence[Waiting]
    cursor: str


async def pending(ports: Ports, caller: Caller) -> Sequence[Waiting]:
    """Return the first page of what waits for this person, the next to expire first."""
    return (await page(ports, caller, Wanted())).waiting


async def page(ports: Ports, caller: Caller, wanted: Wanted) -> PageOf:
    """Return one page of what waits for this person's roles.

    Raises:
        ForbiddenError: the caller is no active person.
        InvalidError: the cursor is none of ours, or for another order.
    """
    person = await person_of(ports, caller)
    asked = Listing(
        roles=tuple(sorted(person.roles)),
        # One more says whether anything follows.
        limit=wanted.limit + 1,
        order=wanted.order,
        customer_ref=wanted.customer_ref,
        agent_id=wanted.agent_id,
        tool=wanted.tool,
        after=_read(wanted.cursor, wanted.order) if wanted.cursor else None,
    )
    found = await ports.queue.page(asked)
    shown, more = found[: wanted.limit], len(found) > wanted.limit
    now = ports.clock.now()
    listed = [Waiting(one, _refusal(person, one, now)) for one in shown]
    return PageOf(listed, _write(shown[-1], wanted.order) if more and shown else "")


def _refusal(person: Approver, one: OnDesk, now: datetime) -> Reason | None:
    """Return a hint at why they may not sign; the vote decides from signed rows."""
    quorum = Quorum(one.approvers_min, one.role, 2)
    passed_on = one.escalated & person.roles - {one.role}
    if passed_on:
        quorum = replace(quorum, ladder=(Rung(min(passed_on), 1),))
    request = ApprovalRequest(
        approval_id=one.approval_id,
        action_id=one.action_id,
        digest="",
        quorum=quorum,
        amount=one.amount,
        barred=one.barred,
        state=one.state,
        created_at=one.created_at,
        expires_at=one.expires_at,
    )
    return approve.may_sign(person, request, at=now)


def _write(last: OnDesk, order: Order) -> str:
    amount = last.amount.minor_units if last.amount else 0
    key = last.expires_at.isoformat() if order is Order.EXPIRY else str(amount)
    text = json.dumps([order.value, key, last.approval_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, order: Order) -> tuple[str, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        word, key, approval_id = json.loads(base64.urlsafe_b64decode(padded))
        if order is Order.EXPIRY:
            good = datetime.fromisoformat(key).tzinfo is not None
        else:
            good = abs(int(key)) < 2**63
        if word == order.value and good and is_id(approval_id):
            return key, approval_id
    except (ValueError, TypeError, binascii.Error):
        pass
    msg = "this cursor does not belong to this list"
    raise InvalidError(msg, hint="begin again without one", pointer="/cursor")

"""Customers who confirm in tests, as their channel reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.approving import confirming
from tests.support.approvals.voters import large_refund
from tests.support.channels import asking, confirmation
from tests.support.flow.executor import CUSTOMER
from tests.support.flow.house import ISSUER
from tests.support.policies import publish

if TYPE_CHECKING:
    from broker.approving.voting import Counted
    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House

SUPERVISOR = '@role("supervisor") @expires_s("86400")'
CONFIRMS = (SUPERVISOR, f'{SUPERVISOR} @customer_confirms("matched")')


async def asks_the_customer(house: House, **more: Any) -> ActionRecord:
    """Return a refund that one supervisor signs and the customer confirms."""
    await publish(house, CONFIRMS)
    return await large_refund(house, **more)


def times(house: House) -> dict[str, Any]:
    """Return the claims that are new in every assertion."""
    now_s = int(house.ports.clock.now().timestamp())
    return {"iat": now_s, "exp": now_s + 60, "jti": house.ports.ids.new()}


def said(house: House, record: ActionRecord, word: str = "approve", **more: Any) -> str:
    """Return what the channel signs when the customer said this."""
    claims = {
        "interaction": record.request.interaction_id,
        "approval": record.approval_id,
        "digest": record.digest,
        "customer": CUSTOMER,
        "verdict": word,
    }
    return confirmation(**times(house) | claims | more)


async def confirm(house: House, record: ActionRecord, text: str) -> Counted:
    """Report it."""
    where = record.request.interaction_id
    return await confirming.confirm(house.ports, where, text, issuer=ISSUER)


async def waiting(house: House, record: ActionRecord) -> list[dict[str, Any]]:
    """Return what the channel is told that its customer has to confirm."""
    where = record.request.interaction_id
    text = asking(**times(house), interaction=where)
    return await confirming.waiting(house.ports, where, text, issuer=ISSUER)

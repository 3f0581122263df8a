"""Orders to try a credential, for people of security: recorded, then signed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.evidence import entry_of
from broker.api.security import person, person_row
from broker.core.guard import bind
from broker.core.warrants.orders import TEXT_CHARS_MAX
from broker.core.warrants.probes import (
    PROBE_TTL_S_MAX,
    PROBE_VERSION_MAX,
    ProbeOrder,
    harmless,
)
from broker.core.words.entry import EntryKind
from broker.core.words.errors import InvalidError, NotFoundError
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.registry.people import check_may_narrow

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.core.words.tool import Tool

router = APIRouter(prefix="/v1/admin/credentials", tags=["registry"])


class ProbeBody(Body):
    """Which version to try, by which reading tool, for which arguments.

    ``customer_id`` is the upstream's id, for tools that need a customer.
    """

    connector: str = Field(min_length=1, max_length=TEXT_CHARS_MAX)
    version: int = Field(ge=1, le=PROBE_VERSION_MAX)
    tool: str = Field(min_length=1, max_length=TEXT_CHARS_MAX)
    arguments: dict[str, Any] = Field(default_factory=dict)
    customer_id: str = Field(default="", max_length=TEXT_CHARS_MAX)


@router.post(
    "/probes",
    summary="Order one harmless request that tries a credential",
    openapi_extra=documented(ProbeBody),
    status_code=201,
)
async def order(
    request: Request, who: Annotated[Caller, Depends(person)]
) -> dict[str, Any]:
    """Record who asked, then return an order that the edge takes once.

    It is made out to the edge that answers now, and ends within two minutes. Arguments
    and customer stand in the order alone, not in the log.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ProbeBody)
    tool = _tool(desk, body)
    bind(tool, body.arguments)
    executor = request.app.state.ports.executor
    edge, _ = await executor.address()
    now = desk.clock.now()
    made = ProbeOrder(
        order_id=desk.ids.new(),
        tenant=desk.tenant,
        environment=desk.environment,
        edge=edge,
        connector=body.connector,
        version=body.version,
        tool=tool.name,
        manifest=tool.digest,
        arguments=body.arguments,
        customer_id=body.customer_id,
        by=f"{who.kind.value}:{who.subject_id}",
        epochs=who.epochs.scopes,
        issued_at=now,
        expires_at=now + timedelta(seconds=PROBE_TTL_S_MAX),
    )
    # If we die here, the log tells of an order that nobody has.
    await desk.journal.record(entry_of(desk, EntryKind.PROBE, _detail(made)))
    return {
        "order": executor.order(made),
        "order_id": made.order_id,
        "edge": edge,
        "expires_at": write_moment(made.expires_at),
    }


def _tool(desk: Desk, body: ProbeBody) -> Tool:
    found = [one for one in desk.tools if one.name == body.tool]
    if not found or found[0].connector != body.connector:
        msg = f"connector {body.connector} has no tool {body.tool}"
        raise NotFoundError(msg)
    if harmless(found[0]) is None:
        msg = f"{body.tool} has no harmless request: name a tool that reads with a GET"
        raise InvalidError(msg, pointer="/tool")
    if found[0].binding.needs_customer and not body.customer_id:
        msg = f"{body.tool} needs a customer"
        raise InvalidError(msg, pointer="/customer_id")
    return found[0]


def _detail(order: ProbeOrder) -> dict[str, Any]:
    return {
        "order": order.order_id,
        "edge": order.edge,
        "connector": order.connector,
        "version": order.version,
        "tool": order.tool,
        "manifest": order.manifest,
        "by": order.by,
        "expires_at": write_moment(order.expires_at),
    }

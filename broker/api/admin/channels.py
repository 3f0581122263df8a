"""Channels over HTTP: silenced at once, and given another key by two people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody, keys_of
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_row
from broker.api.identity.shown import channel_json
from broker.api.identity.widening.proposals import propose
from broker.api.security import person, person_row
from broker.core.words.errors import NotFoundError
from broker.core.words.subject import Caller
from broker.registry.channels import (
    ChannelRow,
    channel_body,
    parse_channel,
    suspended,
    with_key,
)
from broker.registry.people import check_may_narrow, check_may_see
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/channels", tags=["registry"])
Someone = Annotated[Caller, Depends(person)]


class ChannelKeyBody(ReasonBody):
    """The public JWK that takes the place of the channel's key."""

    key: dict[str, Any] = Field(min_length=1)


@router.get("", summary="List channels")
async def list_channels(request: Request, who: Someone) -> dict[str, Any]:
    """Return every channel whose row verifies, by name."""
    desk: Desk = request.app.state.desk
    check_may_see(await person_row(desk, who))
    found = []
    for row in await desk.registry.list("channel"):
        try:
            found.append(parse_channel(row))
        except RowError:
            continue
    found.sort(key=lambda one: (one.name, one.channel_id))
    return {"channels": [channel_json(one) for one in found]}


@router.post(
    "/{channel_id}/suspend",
    summary="Silence a channel",
    openapi_extra=documented(ReasonBody),
)
async def suspend(request: Request, who: Someone, channel_id: str) -> dict[str, Any]:
    """Take nothing more from a channel: it opens nothing and reports nothing."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ReasonBody)
    channel = suspended(await _the(desk, channel_id))
    why = Why(actor, "channel.suspend", body.reason, narrows=True)
    place = ("channel", channel_id, channel.revision)
    row = await save_row(desk, why, place=place, body=channel_body(channel))
    return channel_json(parse_channel(row))


@router.post(
    "/{channel_id}/key",
    status_code=202,
    summary="Ask for another key for a channel",
    openapi_extra=documented(ChannelKeyBody),
)
async def replace_key(
    request: Request, who: Someone, channel_id: str
) -> dict[str, Any]:
    """Ask for a key in the place of the present one; a second person decides.

    From the approval on the channel speaks with the new key alone.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, ChannelKeyBody)
    (key,) = keys_of(body.key)
    channel = with_key(await _the(desk, channel_id), key)
    why = Why(actor, "channel.replace_key", body.reason)
    place = ("channel", channel_id, channel.revision)
    return await propose(desk, why, place=place, body=channel_body(channel))


async def _the(desk: Desk, channel_id: str) -> ChannelRow:
    row = await desk.registry.get("channel", channel_id)
    try:
        if row is not None:
            return parse_channel(row)
    except RowError:
        pass
    msg = "there is no such channel"
    raise NotFoundError(msg)

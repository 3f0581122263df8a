"""An agent's keys over HTTP: a second one beside the first, and the end of either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.admin.registry import ReasonBody
from broker.api.bodies import documented, read
from broker.api.identity.changes import Why, save_agent, the_agent
from broker.api.identity.shown import agent_json
from broker.api.identity.widening.proposals import NEW_KEY, propose_agent
from broker.api.security import person, person_row
from broker.core.words.errors import InvalidError
from broker.core.words.subject import Caller
from broker.registry.agents import OVERLAP_S_MAX, with_new_key, without_key
from broker.registry.people import check_may_narrow, check_may_widen
from broker.registry.reading import RowError, read_keys

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(prefix="/v1/admin/agents", tags=["registry"])
OVERLAP_S = 86_400
Someone = Annotated[Caller, Depends(person)]


class NewKeyBody(ReasonBody):
    """A new public JWK, and how long the present key may still be used."""

    key: dict[str, Any]
    overlap_s: int = Field(default=OVERLAP_S, ge=0, le=OVERLAP_S_MAX)


class DropKeyBody(ReasonBody):
    """Whether somebody else may have the key: then nothing of before is trusted."""

    compromised: bool = False


@router.post(
    "/{agent_id}/keys",
    status_code=202,
    summary="Ask for a new key for an agent",
    openapi_extra=documented(NewKeyBody),
)
async def add_key(request: Request, who: Someone, agent_id: str) -> dict[str, Any]:
    """Ask for a key; a second person decides.

    From the approval on the present one goes on for ``overlap_s`` seconds; 0 ends it.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    body = await read(request, NewKeyBody)
    agent = await the_agent(desk, agent_id)
    check_may_widen(actor, agent)
    raw = {"keys": [{"kid": body.key.get("kid"), "jwk": body.key}]}
    try:
        (key,) = read_keys(raw)
    except RowError as error:
        raise InvalidError(str(error), pointer="/key") from None
    now = desk.clock.now()
    changed = with_new_key(agent, key, now=now, overlap_s=body.overlap_s)
    why = Why(actor, NEW_KEY, body.reason)
    return await propose_agent(desk, changed, why, overlap_s=body.overlap_s)


@router.post(
    "/{agent_id}/keys/{kid}/drop",
    summary="Take a key from an agent",
    openapi_extra=documented(DropKeyBody),
)
async def drop_key(
    request: Request, who: Someone, agent_id: str, kid: str
) -> dict[str, Any]:
    """End a key at once, and with it every token that it got.

    With ``compromised`` every token of the agent ends, and what waits or was approved
    and has not begun is refused: a thief may have asked for any of it.
    """
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_narrow(actor)
    body = await read(request, DropKeyBody)
    agent = await the_agent(desk, agent_id)
    what = "agent.key_compromised" if body.compromised else "agent.drop_key"
    why = Why(actor, what, body.reason, narrows=body.compromised)
    return agent_json(await save_agent(desk, without_key(agent, kid), why))

"""What it takes to try the tool API by hand: a conversation, and a token for it.

In real life a chat platform opens conversations, with a key of its own, and an agent
gets its tokens itself. A demo state has both keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any

import httpx
import typer

from broker.cli.bootstrap import AGENT, CHANNEL, USE_CASE
from broker.cli.demo.world import CALL_S_MAX, CUSTOMER
from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption, StateOption, UrlOption, desk
from broker.cli.stack.state import STATE_DEFAULT
from broker.client.agent import AgentClient
from broker.client.answers import RefusedError, UnreachableError
from broker.client.channel import ChannelClient
from broker.client.keys import ClientKey, KeyFileError, read_key
from broker.client.oauth import Signer, TokenSource

MATCHED = 2
AgentOption = Annotated[
    str, typer.Option("--agent", help="Name of an agent of this state's clients.")
]


def conversation(
    *,
    customer: Annotated[
        str, typer.Option(help="The upstream's id of the customer; empty is nobody.")
    ] = CUSTOMER,
    said: Annotated[str, typer.Option(help="What the customer says first.")] = "",
    agent: AgentOption = AGENT,
    state: StateOption = STATE_DEFAULT,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Open a conversation as the demo's chat platform does, and print its id."""
    at = desk(state, "", None, url, as_json=as_json)
    channel = _key(at, "channels", CHANNEL)
    whose = _key(at, "agents", agent)

    async def work() -> Mapping[str, Any]:
        async with ChannelClient(
            at.broker(), channel_id=channel.subject_id, key=channel.key
        ) as client:
            opened = await client.open_interaction(
                whose.subject_id,
                use_case=USE_CASE,
                customer=customer,
                verification_level=MATCHED if customer else 0,
            )
            body = opened.checked()
            if said:
                (await client.turn(str(body["interaction"]), said)).checked()
            return body

    body = _run(at, work())
    at.show(body, lines=[str(body["interaction"])])


def token(
    *,
    agent: AgentOption = AGENT,
    interaction: Annotated[
        str, typer.Option(help="The one conversation that it is for; empty is any.")
    ] = "",
    state: StateOption = STATE_DEFAULT,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a Bearer token of an agent, for curl; it lives for five minutes."""
    at = desk(state, "", None, url, as_json=as_json)
    key = _key(at, "agents", agent)
    detail = {"type": "counterfoil", "interaction": interaction}

    async def work() -> str:
        async with httpx.AsyncClient(timeout=CALL_S_MAX, trust_env=False) as http:
            source = TokenSource(
                http,
                at.broker(),
                client_id=key.client_id,
                key=Signer(key.key),
                instance=None,
                resource=AgentClient.RESOURCE,
                details=[detail] if interaction else [],
            )
            return await source.token()

    text = _run(at, work())
    at.show({"access_token": text, "token_type": "Bearer"}, lines=[text])


def _run(at: Desk, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    try:
        return asyncio.run(work)
    except RefusedError as error:
        at.fail(error.detail or error.code, hint=error.hint, code=Exit.DENIED)
    except UnreachableError as error:
        at.fail(str(error), code=Exit.UNREACHABLE)


def _key(at: Desk, folder: str, name: str) -> ClientKey:
    try:
        return read_key(at.state / "clients" / folder / f"{name}.jwk")
    except KeyFileError as error:
        at.fail(str(error), hint="`make up` makes a demo state", code=Exit.NOT_FOUND)

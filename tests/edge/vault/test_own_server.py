"""The broker's own authorization server as the upstream's: the edge gets a token."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import uvicorn

from broker.core.canonical import canonical
from broker.core.jwk import private_to_jwk
from broker.edge.egress.upstream import Answer
from broker.edge.egress.upstreams import Upstreams
from broker.edge.vault.access import Keyring
from broker.edge.vault.keeper import Draft
from broker.edge.vault.tokens import Tokens
from tests.edge.vault.conftest import make_safe
from tests.edge.vault.fake_rows import FakeRows
from tests.edge.vault.shop import go, outgoing
from tests.support.door import application, open_door
from tests.support.identities import AGENT, API, INTERACTION_ID, ISSUER, key_of
from tests.support.identity.doorstep import Times


class Now(Times):
    """The host's clock: the edge knows no other."""

    def now(self) -> datetime:
        return datetime.now(UTC)


async def test_our_own_authorization_server_gives_the_edge_a_token(tmp_path) -> None:
    safe = make_safe(tmp_path, FakeRows(), None)
    async with open_door(times=Now()), serving(application()) as url:
        draft = Draft(
            connector="broker",
            base_url=url,
            kind="oauth_client",
            allow_private=True,
            settings={
                "token_url": f"{url}/oauth/token",
                "client_id": AGENT,
                "client_auth": "private_key_jwt",
                "assertion_audience": ISSUER,
                "resource": API,
                "authorization_details": json.dumps(
                    [{"type": "counterfoil", "interaction": INTERACTION_ID}]
                ),
            },
        )
        secret = canonical(dict(private_to_jwk(key_of("agent"))))
        await safe.vault.switch("broker", await safe.vault.add(draft, secret))
        upstreams = Upstreams()
        tokens = Tokens(safe.vault.rows, notary=safe.vault.notary, ask=upstreams.ask)
        access = await Keyring(safe.vault, tokens).access("broker")
        assert access is not None
        answer: Answer = await upstreams.send(
            access.route, outgoing(access, "/v1/tools"), go
        )
        await upstreams.close()
    assert (answer.status, json.loads(answer.body)["subject"]) == (200, AGENT)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an application on loopback."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (it says so in no other way)
        await asyncio.sleep(0.01)
    port = cast("Any", server.servers[0]).sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task

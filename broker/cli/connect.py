"""Let any framework work with proof of possession: hold the key, and relay its calls.

Over HTTP it listens on the loopback address alone, asks for a secret of its own, and
refuses pages; with ``--stdio`` it listens nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption, StateOption, UrlOption, desk
from broker.cli.stack.machine.ports import LOOPBACK
from broker.cli.stack.state import STATE_DEFAULT
from broker.client.answers import RefusedError, UnreachableError
from broker.client.keys import ClientKey, KeyFileError, read_key, read_secret
from broker.client.relay import Relay
from broker.client.stdio import LINE_BYTES_MAX, StdioBridge

PORT = 8490
SECRET_CHARS_MIN = 16
_INTERACTION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="connect")(connect)


def connect(
    key: Annotated[
        Path | None, typer.Option("--key", help="Key file of the agent.")
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--agent", help="Name of an agent of this state's clients folder."
        ),
    ] = "",
    interaction: Annotated[
        str,
        typer.Option(help="Id of the conversation to act in; else each call names it."),
    ] = "",
    *,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Speak MCP on standard input and output.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535)] = PORT,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="Holds what callers must show; else one is made and shown."),
    ] = None,
    state: StateOption = STATE_DEFAULT,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> None:
    """Relay a framework's calls to the broker, with the agent's token and proofs."""
    here = desk(state, "", None, url, as_json=as_json)
    agent = _agent(here, key, name)
    if interaction and not _INTERACTION.fullmatch(interaction):
        here.fail("--interaction is the id of a conversation", code=Exit.USAGE)
    path = f"/mcp/{interaction}" if interaction else "/mcp"
    relay = Relay(here.broker(), key=agent)
    try:
        if stdio:
            asyncio.run(_speak(relay, path))
        else:
            ear = Ear(agent.name, path, port, _secret(here, secret_file))
            asyncio.run(_listen(here, relay, ear))
    except RefusedError as error:
        hint = "is this key registered, and its agent active?"
        here.fail(f"{agent.name}: {error}", hint=hint, code=Exit.DENIED)
    except UnreachableError as error:
        here.fail(str(error), code=Exit.UNREACHABLE)


def _agent(here: Desk, key: Path | None, name: str) -> ClientKey:
    if key is None and not name:
        here.fail(
            "which agent?",
            hint="--agent care-agent for one of this state, or --key FILE",
            code=Exit.USAGE,
        )
    path = key or here.state / "clients" / "agents" / f"{name}.jwk"
    try:
        found = read_key(path)
    except KeyFileError as error:
        here.fail(str(error), code=Exit.NOT_FOUND)
    if not found.client_id.startswith("agent:"):
        here.fail(f"{path} is no agent's key", code=Exit.USAGE)
    return found


# ----------------------------------------------------------------------------- stdio


async def _speak(relay: Relay, path: str) -> None:
    async with relay:
        await relay.ready()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )

        async def write(line: bytes) -> None:
            # Off the loop: a client that does not read holds up no other answer.
            await asyncio.to_thread(_put, line)

        with contextlib.suppress(BrokenPipeError):
            await StdioBridge(relay, write=write, path=path).run(reader)


def _put(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


# ------------------------------------------------------------------------------ HTTP


@dataclass(frozen=True, slots=True)
class Ear:
    """Where the relay listens, in whose name, and what callers must show."""

    agent: str
    path: str
    port: int
    secret: str

    @property
    def base(self) -> str:
        """Return the base URL."""
        return f"http://{LOOPBACK}:{self.port}"


async def _listen(here: Desk, relay: Relay, ear: Ear) -> None:
    async with relay:
        await relay.ready()
        with _bound(here, ear.port) as listening:
            # Other commands need no server.
            import uvicorn  # noqa: PLC0415

            from broker.client.relay_http import relay_app  # noqa: PLC0415

            server = uvicorn.Server(
                uvicorn.Config(
                    relay_app(relay, secret=ear.secret),
                    log_level="warning",
                    access_log=False,
                    server_header=False,
                    lifespan="off",
                )
            )
            _tell(here, relay, ear)
            await server.serve(sockets=[listening])


def _secret(here: Desk, secret_file: Path | None) -> str:
    if secret_file is None:
        return secrets.token_urlsafe(24)
    try:
        secret = read_secret(secret_file)
    except KeyFileError as error:
        here.fail(str(error), code=Exit.NOT_FOUND)
    if len(secret) < SECRET_CHARS_MIN:
        here.fail(f"{secret_file} holds fewer than {SECRET_CHARS_MIN} characters")
    return secret


def _bound(here: Desk, port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        here.fail(f"port {port}: {error.strerror}", hint="name another one with --port")


def _tell(here: Desk, relay: Relay, ear: Ear) -> None:
    """Say how to reach it; the configuration is what an MCP client takes."""
    config = {
        "mcpServers": {
            "counterfoil": {
                "type": "http",
                "url": f"{ear.base}{ear.path}",
                "headers": {"Authorization": f"Bearer {ear.secret}"},
            }
        }
    }
    here.show(
        {"event": "connected", "agent": ear.agent, "url": ear.base, "mcp": config},
        lines=[
            f"{ear.agent} is connected to {relay.base_url} with proof of possession",
            f"REST   {ear.base}/v1",
            f"MCP    {ear.base}{ear.path}",
            f"header Authorization: Bearer {ear.secret}",
            "",
            json.dumps(config, indent=2),
            "",
            "Ctrl-C ends it; nothing of it is kept.",
        ],
    )
    sys.stdout.flush()

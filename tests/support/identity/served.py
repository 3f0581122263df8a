"""A door that serves HTTP on loopback, and commands that people run against it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import uvicorn

from broker.cli.exits import Exit
from broker.client.keys import ClientKey, write_key
from broker.core.words.entry import EntryKind
from tests.support.cli.command import invoke
from tests.support.door import PEOPLE, Door, Times, application, open_door
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Now(Times):
    """The host's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Desk:
    """A state folder with everybody's keys, and a broker that answers."""

    door: Door
    url: str
    state: Path

    def run(self, *words: str, code: int = Exit.OK, who: str = "carol") -> Any:
        """Run a command as a person; return its JSON, or its text if it has none."""
        where = ["--state", str(self.state), "--url", self.url]
        name = ["--as", who] if who else []
        result = invoke(*words, *where, *name, "--json")
        assert result.exit_code == code, result.output
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return lines[0] if len(lines) == 1 else lines

    def say(self, *words: str, code: int = Exit.OK, who: str = "carol") -> str:
        """Run a command as a person; return what people read."""
        where = ["--state", str(self.state), "--url", self.url]
        name = ["--as", who] if who else []
        result = invoke(*words, *where, *name)
        assert result.exit_code == code, result.output
        return str(result.output)

    def what(self) -> list[str]:
        """Return what was changed, as the log calls it."""
        logged = self.door.logged(EntryKind.AUTHORITY)
        return [entry.detail["what"] for entry in logged if "what" in entry.detail]


@contextmanager
def served_desk(tmp_path: Path) -> Iterator[Desk]:
    """Serve a door on loopback, with everybody's key files in a state folder."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        # Who calls before uvicorn is up waits for it.
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for name, (person_id, _) in PEOPLE.items():
            key = ClientKey(f"person:{person_id}", name, key_of(name))
            write_key(tmp_path / "clients" / "people" / f"{name}.jwk", key)
        ready, made = threading.Event(), []
        config = uvicorn.Config(application(), log_config=None, lifespan="off")
        server = uvicorn.Server(config)

        async def serve() -> None:
            async with open_door(issuer=url, times=Now()) as door:
                made.append(door)
                ready.set()
                await server.serve(sockets=[listening])

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert ready.wait(10)
        yield Desk(made[0], url, tmp_path)
        server.should_exit = True
        thread.join(10)

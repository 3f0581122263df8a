"""A broker's real rooms on loopback, and the command for people beside it."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.exits import Exit
from broker.client.keys import ClientKey, write_key
from broker.effects.temporal.keyfile import CODEC_FILE, CodecFile, generate_codec_keys
from tests.support.approvals.office import serve_office
from tests.support.cli.command import invoke
from tests.support.flow.house import PEOPLE, House, open_house
from tests.support.flow.template import pg_template
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


__all__ = ["pg_template"]


@dataclass
class Counter:
    """A state folder with everybody's keys, and a broker that answers."""

    house: House
    loop: asyncio.AbstractEventLoop
    url: str
    state: Path

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let something happen at the broker."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def run(
        self,
        *words: str,
        who: str = "alice",
        code: int = Exit.OK,
        typed: str = "",
        of: str = "approvals",
    ) -> Any:
        """Run a command as a person; return its JSON lines."""
        result = self.invoke(*words, "--json", who=who, typed=typed, of=of)
        assert result.exit_code == code, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def say(self, *words: str, who: str = "alice", code: int = Exit.OK) -> str:
        """Run a command as a person; return what people read."""
        result = self.invoke(*words, who=who)
        assert result.exit_code == code, result.output
        return str(result.output)

    def invoke(
        self, *words: str, who: str, typed: str = "", of: str = "approvals"
    ) -> Any:
        where = ["--state", str(self.state), "--url", self.url]
        name = ["--as", who] if who else []
        return invoke(of, *words, *where, *name, typed=typed)


@pytest.fixture
def counter(pg_broker_dsn: str, pg_dsn: str, tmp_path: Path) -> Iterator[Counter]:
    ready, ends, made = threading.Event(), threading.Event(), []
    for name, person_id in PEOPLE.items():
        key = ClientKey(f"person:{person_id}", name, key_of(name))
        write_key(tmp_path / "clients" / "people" / f"{name}.jwk", key)

    generate_codec_keys(tmp_path)
    codec = CodecFile(tmp_path / "broker" / CODEC_FILE)

    async def serve() -> None:
        async with (
            open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
            serve_office(house, codec=codec) as url,
        ):
            made.append(Counter(house, asyncio.get_running_loop(), url, tmp_path))
            ready.set()
            await asyncio.to_thread(ends.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield made[0]
    ends.set()
    thread.join(20)

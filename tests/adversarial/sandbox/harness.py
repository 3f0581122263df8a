"""Run every attempt of the hostile connectors, and write down what came of each.

A program of its own, so that it can run as another user and under another filter:
``python -m tests.adversarial.sandbox.harness ORDER``, where ORDER is JSON. It prints
the findings as JSON. Only the standard library and tools are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.adversarial.sandbox import surroundings
from tests.adversarial.sandbox.hostile import (
    inside,
    kit,
    leaving,
    mischief,
    processes,
    reaching,
    reading,
    siblings,
    writing,
)
from tests.adversarial.sandbox.victims import Victim, alive
from tests.adversarial.sandbox.world import SECRET, World
from tests.support.fake_edge import FakeEdge, RunnerClient, warrant, write_catalog
from tools import limits
from tools.dispatcher import Dispatcher
from tools.manifests import Tool, load_catalog
from tools.posture.postures import NotConfinedError
from tools.settings import Settings

HERE = Path(__file__).parent
# Left out of control runs: without a jail they would reach the whole machine.
FAR_REACHING = frozenset({"signal_everybody", "mount_something"})
PARTS = (reading, reaching, processes, siblings, writing, leaving, inside, mischief)


def functions() -> dict[str, Any]:
    """Return every function of the hostile connector by name, in the order of files."""
    return {
        name: function
        for part in PARTS
        for name, function in vars(part).items()
        if inspect.isfunction(function) and function.__module__ == part.__name__
    }


def code() -> str:
    """Return the parts as one connector: without the imports of one another."""
    texts = [Path(str(part.__file__)).read_text("utf-8") for part in (kit, *PARTS)]
    lines = [line for text in texts for line in text.splitlines()]
    own = ("from __future__", f"from {__package__}")
    kept = [line for line in lines if not line.startswith(own)]
    return "\n".join(["from __future__ import annotations", *kept, ""])


ATTEMPTS = tuple(n for n, tool in functions().items() if hasattr(tool, "__wrapped__"))
FINDS = ("find_environment", "find_descriptors", "find_limits")
ENDLESS = ("spin", "ignore_signals_and_sleep", "drip_result")
FLOODS = ("flood_output", "flood_result")
ENDLESS_MS = 400


def peak_kib() -> int:
    """Return the most memory that this process has had.

    The figure of getrusage would be its parent's, which it keeps over a start.
    """
    text = Path("/proc/self/status").read_text("utf-8")
    return int(text.partition("VmHWM:")[2].split()[0])


def frame(body: bytes) -> bytes:
    """Return a frame of any bytes."""
    return len(body).to_bytes(4, "big") + body


def deep(levels: int) -> bytes:
    """Return a result of so many levels."""
    return b'{"result":' + b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1) + b"}"


BAD_RESULTS = {
    "no bytes at all": b"",
    "a header alone": b"\0\0\0\5",
    "an empty frame": frame(b""),
    "a cut off frame": frame(b'{"result":{}}')[:-1],
    "more bytes than announced": frame(b'{"result":{}}') + b" ",
    "two frames": frame(b'{"result":{}}') * 2,
    "two documents": frame(b'{"result":{}}{"result":{}}'),
    "not UTF-8": frame(b'{"result":{"a":"\xff"}}'),
    "a byte order mark": frame(b'\xef\xbb\xbf{"result":{}}'),
    "NaN": frame(b'{"result":{"a":NaN}}'),
    "infinity": frame(b'{"result":{"a":1e999}}'),
    "a fraction": frame(b'{"result":{"a":0.5}}'),
    "a huge integer": frame(b'{"result":{"a":' + b"9" * 10_000 + b"}}"),
    "a name twice": frame(b'{"result":{"a":1,"a":2}}'),
    "two results": frame(b'{"result":{"a":1},"result":{}}'),
    "a lone surrogate": frame(b'{"result":{"a":"\\ud800"}}'),
    "one level too deep": frame(deep(limits.RESULT_DEPTH_MAX + 1)),
    "thousands of levels": frame(b'{"result":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "a list": frame(b"[]"),
    "no result": frame(b"{}"),
    "a result that is no object": frame(b'{"result":1}'),
    "more than a result": frame(b'{"result":{},"receipt":"forged"}'),
    "an error that is none": frame(b'{"error":"x"}'),
    "more than an error": frame(b'{"error":{"code":"x","message":"y","z":1}}'),
}


class Run:
    """One runner, its world, and a broker's connection to it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.folder = Path(order["folder"])
        self.world = World(self.folder)
        self.edge = FakeEdge(self.folder / "edge.sock")
        self.catalog = self.folder / "catalog"
        self.tools: dict[str, Tool] = {}
        self.client: RunnerClient
        self.dispatcher: Dispatcher
        self._numbers = 0
        self._victims: list[Victim] = []

    def write_catalog(self) -> None:
        """Copy the connectors to where this user may own them."""
        if self.order["importing"]:
            self._write_importing()
        if self.order["attempts"]:
            self._write_hostile()
        self.tools = load_catalog(self.catalog)

    def _write_hostile(self) -> None:
        tools: dict[str, dict[str, Any]] = {name: {} for name in functions()}
        write_catalog(self.catalog, code(), connector="hostile", tools=tools)
        write_catalog(self.catalog, code(), connector="bystander", tools={"hold": {}})

    def _write_importing(self) -> None:
        importing = (HERE / "importing.py").read_text("utf-8")
        for connector, preload in (("importing", False), ("preloading", True)):
            tools = {"tell": {"preload": preload}}
            write_catalog(self.catalog, importing, connector=connector, tools=tools)
            targets = (
                *(self.world.canary, self.world.broker.pid),
                *(self.world.port, self.world.loot),
            )
            text = "\n".join(str(one) for one in targets)
            (self.catalog / connector / "targets.txt").write_text(text, "utf-8")

    def warrant(self, name: str, **arguments: Any) -> str:
        """Return a fresh warrant for a tool."""
        self._numbers += 1
        tool = self.tools[name]
        return warrant(
            jti=f"w{self._numbers}",
            tool=name,
            connector=tool.connector,
            manifest=tool.digest,
            arguments=arguments,
        )

    async def call(
        self, name: str, *, deadline_ms: int = 5_000, **arguments: Any
    ) -> dict[str, Any]:
        """Run a tool; return the runner's answer."""
        return await self.client.run(
            self.warrant(name, **arguments), deadline_ms=deadline_ms
        )

    async def attempt(self, name: str) -> dict[str, Any]:
        """Make one attempt; say what it got, and what it did to the world."""
        before = self.dispatcher.zygotes()
        self._victims = self._victims or [
            Victim("sibling", "hostile", self),
            Victim("stranger", "bystander", self),
        ]
        arguments = self.world.arguments(
            zygote=before["hostile"], edge=self.folder / "edge.sock"
        )
        arguments["held"] = [await one.held() for one in self._victims]
        calls_before = len(self.edge.warrants)
        answer = await self.call(f"hostile.{name}", **arguments)
        got = (answer["result"] or {}).get("got")
        effects = self.world.effects(self.catalog / "hostile" / "connector.py")
        if not alive(before["hostile"]):
            effects.append("killed the zygote")
        for one in self._victims:
            if await one.killed():
                effects.append(f"killed the {one.who}")
        if len(self.edge.warrants) != calls_before + 1:
            effects.append("called the edge")
        return {
            "got": got,
            "effects": effects,
            "leaked": self.world.leaked(answer),
            "succeeded": bool(got or effects),
            "answer": answer,
        }

    async def mischief(self) -> dict[str, Any]:
        """Let calls hang, flood, lie and crash; say how each ended."""
        found: dict[str, Any] = {}
        for name in (*ENDLESS, *FLOODS):
            found[name] = await self.call(f"hostile.{name}", deadline_ms=ENDLESS_MS)
        found["use_another_interface"] = await self.call(
            "hostile.use_another_interface"
        )
        found["overwhelm_edge"] = await self.call("hostile.overwhelm_edge")
        found["bad_results"] = {
            name: await self.call("hostile.write_result", bytes=data.hex())
            for name, data in BAD_RESULTS.items()
        }
        for extra in (0, 1):
            found[f"longest+{extra}"] = await self.call(
                "hostile.write_too_much", n=limits.RESULT_BYTES_MAX + extra
            )
        return found

    async def look_inside(self) -> dict[str, Any]:
        """Return what a call finds, what calls leave, and what importing got."""
        found = {name: (await self.call(f"hostile.{name}"))["result"] for name in FINDS}
        kept = [
            await self.call("hostile.keep_for_the_next_call", canary=self.world.secret)
            for _ in range(3)
        ]
        found["kept"] = [one["result"]["got"] for one in kept]
        return found

    async def look_at_imports(self) -> dict[str, Any]:
        """Return what importing got, in the child and in the zygote."""
        found: dict[str, Any] = {}
        for connector in ("importing", "preloading"):
            answer = await self.call(f"{connector}.tell")
            found[connector] = (answer["result"] or {}).get("outcomes", answer["error"])
        found["import_effects"] = self.world.effects(
            self.catalog / "importing" / "connector.py"
        )
        return found

    async def play(self) -> dict[str, Any]:
        """Start the runner, make the attempts, and return the findings."""
        layers = self.order["layers"]
        self.write_catalog()
        settings = Settings(
            runner_socket=self.folder / "runner.sock",
            edge_socket=self.folder / "edge.sock",
            catalog=self.catalog,
            sandbox=self.order["sandbox"],
        )
        async with self.edge:
            self.dispatcher = Dispatcher(
                settings, layers=None if layers is None else frozenset(layers)
            )
            try:
                await self.dispatcher.start()
            except NotConfinedError as error:
                return {"refused": str(error), "user": os.getuid()}
            self.client = await RunnerClient.connect(settings.runner_socket)
            findings: dict[str, Any] = {
                "posture": self.dispatcher.report.posture,
                "outside": self.dispatcher.report.outside,
                "user": os.getuid(),
                "secret": self.world.secret,
            }
            if self.order["importing"]:
                findings |= await self.look_at_imports()
            if self.order["attempts"]:
                findings |= await self.look_inside()
                if layers is None and self.order["mischief"]:
                    findings["mischief"] = await self.mischief()
                findings["attempts"] = {
                    name: await self.attempt(name)
                    for name in ATTEMPTS
                    if layers is None or name not in FAR_REACHING
                }
                last = await self.call("hostile.find_limits")
                findings["still_serves"] = last["error"] is None
            findings["peak_kib"] = peak_kib()
            for victim in self._victims:
                await victim.end()
            self.client.close()
            await self.dispatcher.close()
        return findings


def main() -> None:
    """Play the order that stands in the first argument."""
    order = json.loads(sys.argv[1])
    os.environ[SECRET] = "in the dispatcher's environment"
    if order["pod"]:
        surroundings.enter_a_pod()
    if not order["landlock"]:
        surroundings.forget_landlock()
    if order["container"]:
        surroundings.confine_like_a_container()
    run = Run(order)
    with contextlib.closing(run.world):
        findings = asyncio.run(run.play())
    json.dump(findings, sys.stdout)


if __name__ == "__main__":
    main()

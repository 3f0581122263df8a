"""Serve the runner's socket: take warrants from brokers, and have calls run.

This process never imports connector code. It holds no key and no credential: it can
only show the edge a warrant, and hand the connection that it got to a confined child.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Mapping
from typing import Final

from tools import frames, limits
from tools.calls import CallRun
from tools.edge_link import EdgeLink, EdgeRefusedError, EdgeUnavailableError
from tools.keeper import LOG
from tools.libraries import LibrariesError
from tools.manifests import CatalogError, Tool, load_catalog
from tools.posture.fleet import Fleet, Report
from tools.posture.postures import NotConfinedError
from tools.serving import listening
from tools.settings import Settings, SettingsError, read_settings
from tools.warrants import Warrant, WarrantError, read_warrant

REFUSALS: Final = (*(CatalogError, LibrariesError, SettingsError, NotConfinedError),)
"""What keeps the runner from starting, said in one line."""


class Dispatcher:
    """The runner: a socket for brokers, a zygote per connector, a link to the edge."""

    def __init__(
        self, settings: Settings, *, layers: frozenset[str] | None = None
    ) -> None:
        """Take settings; nothing is started yet.

        Args:
            settings: Sockets and catalog.
            layers: For control runs of the tests alone: confine by these layers only,
                and do not probe. None chooses the best posture of this host.
        """
        self._settings = settings
        self._layers = layers
        self._edge = EdgeLink(settings.edge_socket)
        self._tools: dict[str, Tool] = {}
        self._fleet = Fleet(settings, {})
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Load the catalog, confine, probe, and then listen.

        Raises:
            CatalogError: A manifest is wrong.
            LibrariesError: What a connector brings is not installed as locked.
            NotConfinedError: Connector code cannot be confined here.
            OSError: The socket cannot be bound.
            SettingsError: Its certificate, key or authority cannot be used.
        """
        self._tools = load_catalog(self._settings.catalog)
        self._fleet = Fleet(self._settings, self._tools, layers=self._layers)
        await self._fleet.start()
        self._server = await listening.listen(
            self._accept, at=self._settings.tls or self._settings.runner_socket
        )

    async def close(self) -> None:
        """Take no more calls, give those at work DRAIN_S_MAX, and end all zygotes."""
        if self._server:
            self._server.close()
            if self._settings.tls is None:
                self._settings.runner_socket.unlink(missing_ok=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.DRAIN_S_MAX):
                await self._idle.wait()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._fleet.close()
        self._edge.close()

    @property
    def port(self) -> int:
        """The port that is served over TLS; 0 on a unix socket."""
        if self._settings.tls is None or self._server is None:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def report(self) -> Report:
        """How connector code is confined."""
        return self._fleet.report

    def zygotes(self) -> dict[str, int]:
        """Return the process id of each living zygote by its name."""
        return self._fleet.zygotes()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 the server runs this in a task
        self._connections.add(task)
        try:
            if listening.may_connect(writer) and (
                len(self._connections) <= limits.CONNECTIONS_MAX
            ):
                await self._converse(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            # The broker has gone or does not finish its frame, or we end. Python 3.11
            # logs a cancelled connection as a failure, so none ends as cancelled.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            header = await reader.readexactly(frames.HEADER_BYTES)
            try:
                count = frames.size(header, bytes_max=limits.REQUEST_BYTES_MAX)
                async with asyncio.timeout(limits.FRAME_S_MAX):
                    body = await reader.readexactly(count)
                question = frames.decode(body, depth_max=limits.FRAME_DEPTH_MAX)
            except frames.FrameError as error:
                # Where the next frame starts is not known any more.
                writer.write(_encode(_no("bad_request", str(error))))
                await writer.drain()
                return
            self._busy += 1
            self._idle.clear()
            try:
                answer = await self._answer(question)
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()
            writer.write(_encode(answer))
            await writer.drain()

    async def _answer(self, question: Mapping[str, object]) -> dict[str, object]:
        try:
            return await self._take(question)
        except WarrantError as error:
            return _no("bad_request", str(error))
        except EdgeRefusedError as error:
            return _no("edge_refused", error.code)
        except EdgeUnavailableError as error:
            return _no("edge_unavailable", str(error))

    async def _take(self, question: Mapping[str, object]) -> dict[str, object]:
        match question:
            case {"op": "run", "warrant": str() as jws, "deadline_ms": int() as ms}:
                return await self._run(read_warrant(jws), deadline_ms=ms)
            case {
                "op": "ask",
                "warrant": str() as warrant_id,
                "action": str() as action,
                "nonce": str() as nonce,
            }:
                receipt = await self._edge.ask(
                    warrant_id=warrant_id, action=action, nonce=nonce
                )
                return {"ok": True, "receipt": receipt}
            case {"op": "notice", "order": str() as order}:
                return {"ok": True, "receipt": await self._edge.notice(order)}
            case {"op": "hello", "nonce": str() as nonce}:
                return await self._hello(nonce)
            case {"op": "sandbox"}:
                # Without the edge: whoever looks after this host asks when it is down.
                return {"ok": True, "sandbox": self.report.as_json()}
            case _:
                return _no("bad_request", "no such question")

    async def _run(self, warrant: Warrant, *, deadline_ms: int) -> dict[str, object]:
        # A bool is an int in Python, and none in JSON.
        if type(deadline_ms) is not int or not (
            0 < deadline_ms <= limits.DEADLINE_MS_MAX
        ):
            return _no("bad_request", f"deadline_ms is 1 to {limits.DEADLINE_MS_MAX}")
        tool = self._tools.get(warrant.tool)
        if tool is None or tool.connector != warrant.connector:
            return _not_run("unknown_tool", "the catalog has no such tool")
        if tool.digest != warrant.manifest:
            return _not_run("unknown_tool", "the catalog has another version of it")
        seconds = min(deadline_ms / 1000, tool.timeout_s)
        if tool.consequential and not self._fleet.report.confined:
            return _not_run("not_confined", "Tier 3 never runs without a sandbox")
        keeper = self._fleet.keeper(tool)
        call = CallRun(warrant, tool, keeper=keeper, edge=self._edge)
        answer = await call.run(until=asyncio.get_running_loop().time() + seconds)
        answer["posture"] = self.report.posture
        match answer["error"]:
            case {"code": code}:
                # Without the detail, which may be connector code's own words.
                LOG.warning("call of %s: %s", tool.name, code)
            case _:
                pass
        return answer

    async def _hello(self, nonce: str) -> dict[str, object]:
        connectors: dict[str, list[str]] = {}
        for tool in self._tools.values():
            connectors.setdefault(tool.connector, []).append(tool.name)
        return {
            "ok": True,
            "edge_hello": await self._edge.hello(nonce),
            "connectors": connectors,
            "sandbox": self.report.as_json(),
        }


def _not_run(code: str, detail: str) -> dict[str, object]:
    """Answer a run that never reached the edge."""
    return {
        "ok": True,
        "result": None,
        "error": {"code": code, "detail": detail},
        "receipt": None,
        "ms": {"total": 0, "fork": 0, "edge": 0},
    }


def _no(code: str, detail: str) -> dict[str, object]:
    return {"ok": False, "error": {"code": code, "detail": detail}}


def _encode(message: Mapping[str, object]) -> bytes:
    return frames.encode(message, bytes_max=limits.REPLY_BYTES_MAX)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; errors are those of `Dispatcher.start`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    dispatcher = Dispatcher(settings)
    try:
        await dispatcher.start()
        posture = dispatcher.report.posture
        LOG.info("ready: %s, zygotes %s", posture, dispatcher.zygotes())
        await stop.wait()
    finally:
        await dispatcher.close()


def main() -> int:
    """Run the dispatcher; return the exit status."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO
    )
    try:
        asyncio.run(serve(read_settings()))
    except (*REFUSALS, OSError) as error:
        sys.stderr.write(f"runner: refusing to start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

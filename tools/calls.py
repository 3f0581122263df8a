"""Run one call: the edge's connection, a child to use it, a deadline, a receipt."""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tools import frames, limits
from tools.edge_link import EdgeLink, EdgeRefusedError, EdgeUnavailableError
from tools.keeper import Keeper, TooBusyError
from tools.manifests import Tool
from tools.warrants import Warrant
from tools.zygote_link import Child, ZygoteError, ZygoteLink

FORK_S_MAX: Final = 2.0
"""How long a zygote may take to fork; one that takes longer is replaced."""

_CODE: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{limits.ERROR_CODE_CHARS_MAX - 1}}}")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_REPORT_S: Final = 0.2
_CHUNK_BYTES: Final = 65_536
_RESULT_FRAME_BYTES: Final = frames.HEADER_BYTES + limits.RESULT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: with a result, or with an error's code and detail."""

    result: Mapping[str, object] | None
    code: str = ""
    detail: str = ""

    @property
    def error(self) -> dict[str, str] | None:
        """The error as brokers are told it, or None."""
        return {"code": self.code, "detail": self.detail} if self.code else None


class Tap:
    """Takes what a child writes to a descriptor that does not block, up to a limit."""

    def __init__(self, fd: int, *, bytes_max: int) -> None:
        """Take from a descriptor, which stays its owner's, until it ends or is full."""
        self.data = bytearray()
        self.full: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fd = fd
        self._bytes_max = bytes_max
        asyncio.get_running_loop().add_reader(fd, self.drain)

    def drain(self) -> None:
        """Take what is there."""
        while len(self.data) <= self._bytes_max:
            try:
                part = os.read(self._fd, _CHUNK_BYTES)
            except BlockingIOError:
                return
            except OSError:
                part = b""
            if not part:
                self.close()
                return
            self.data += part
        self.close()
        if not self.full.done():
            self.full.set_result(None)

    def close(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._fd)


class CallRun:
    """One call: which warrant, on whose zygote, over which edge, until when."""

    def __init__(
        self, warrant: Warrant, tool: Tool, *, keeper: Keeper, edge: EdgeLink
    ) -> None:
        """Take what the call needs; nothing has happened yet."""
        self._warrant = warrant
        self._tool = tool
        self._keeper = keeper
        self._edge = edge
        self._fork_s = 0.0
        self._edge_s = 0.0

    async def run(self, *, until: float) -> dict[str, object]:
        """Run it and return the answer: result, error, receipt and times.

        Args:
            until: The deadline, on the loop's clock. The child is killed then; the
                receipt is fetched after it.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        accepted = False
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout_at(until):
                    # In this order the zygote forks while the edge checks.
                    link, child = await stack.enter_async_context(self._keeper.child())
                    egress = stack.enter_context(await self._open())
                accepted = True
                ended = await self._use(egress, link, child, until=until)
        except TooBusyError:
            ended = Ended(None, "too_busy", "every place in the queue is taken")
        except TimeoutError:
            # Whether the edge accepted the warrant in the end can be asked later.
            ended = Ended(None, "too_busy", "the deadline passed before the call began")
        except ZygoteError as error:
            ended = Ended(None, "sandbox_unavailable", error.stage)
        except EdgeRefusedError as error:
            ended = Ended(None, "edge_refused", error.code)
        except EdgeUnavailableError as error:
            ended = Ended(None, "edge_unavailable", str(error))
        except OSError as error:
            # No descriptors left, for instance: nothing was started.
            ended = Ended(None, "sandbox_unavailable", type(error).__name__)
        receipt = await self._receipt() if accepted else None
        if accepted and receipt is None and not ended.code:
            # Without a receipt nobody can say what happened, so there is no result.
            ended = Ended(None, "edge_unavailable", "no receipt")
        return {
            "ok": True,
            "result": ended.result,
            "error": ended.error,
            "receipt": receipt,
            "ms": {
                "total": _ms(loop.time() - started),
                "fork": _ms(self._fork_s),
                "edge": _ms(self._edge_s),
            },
        }

    async def _open(self) -> socket.socket:
        started = asyncio.get_running_loop().time()
        try:
            return await self._edge.open_call(self._warrant.jws)
        finally:
            self._edge_s += asyncio.get_running_loop().time() - started

    async def _use(
        self, egress: socket.socket, link: ZygoteLink, child: Child, *, until: float
    ) -> Ended:
        message = {
            "entry": self._tool.entry,
            "arguments": self._warrant.arguments,
            "customer": self._warrant.customer,
            "action": self._warrant.action,
        }
        try:
            ended, self._fork_s = await run_child(
                link, child, message, egress=egress.fileno(), until=until
            )
        finally:
            # Whoever else may hold the descriptor: the connection itself ends here.
            with contextlib.suppress(OSError):
                egress.shutdown(socket.SHUT_RDWR)
        return ended

    async def _receipt(self) -> str | None:
        started = asyncio.get_running_loop().time()
        try:
            return await self._edge.receipt(self._warrant.warrant_id)
        except (EdgeRefusedError, EdgeUnavailableError):
            return None
        finally:
            self._edge_s += asyncio.get_running_loop().time() - started


async def run_child(
    link: ZygoteLink,
    child: Child,
    call: Mapping[str, object],
    *,
    egress: int,
    until: float,
) -> tuple[Ended, float]:
    """Give a child its call, wait for its end, and judge what it left.

    Args:
        link: The zygote that forks it.
        child: The process; it is not used again.
        call: Entry, arguments, customer and action.
        egress: The descriptor of its connection; it gets a copy.
        until: The deadline, on the loop's clock; the child is killed then.

    Returns:
        How it ended, and how long its fork was waited for, in seconds.
    """
    loop = asyncio.get_running_loop()
    channel = Tap(child.channel.fileno(), bytes_max=_RESULT_FRAME_BYTES)
    output = Tap(child.output, bytes_max=limits.OUTPUT_BYTES_MAX)
    feeding = asyncio.ensure_future(_feed(child.channel, call, egress))
    forked_s = -loop.time()
    try:
        if not await _done(child.began, within_s=FORK_S_MAX):
            link.end("it does not fork")
        forked_s += loop.time()
        await asyncio.wait(
            {child.ended, channel.full, output.full},
            timeout=max(until - loop.time(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        in_time = child.ended.done()
        if not in_time:
            child.kill()
            await _done(child.ended, within_s=limits.KILL_S_MAX)
        # What it wrote before its end may still be on the way.
        channel.drain()
        output.drain()
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await feeding
        channel.close()
        output.close()
    if channel.full.done():
        return Ended(None, "result_invalid", "too_big"), forked_s
    if output.full.done():
        return Ended(None, "crashed", "it printed more than it may"), forked_s
    if not in_time:
        return Ended(None, "timeout", "it was killed at the deadline"), forked_s
    return await _judge(child, bytes(channel.data)), forked_s


async def _feed(
    channel: socket.socket, call: Mapping[str, object], egress: int
) -> None:
    """Send a call; its connection goes with the first byte."""
    data = frames.encode(call, bytes_max=limits.REQUEST_BYTES_MAX)
    sent = socket.send_fds(channel, [data], [egress])
    await asyncio.get_running_loop().sock_sendall(channel, data[sent:])


async def _done(future: asyncio.Future[None], *, within_s: float) -> bool:
    """Wait for a future, but not longer; say whether it is done."""
    if not future.done():
        await asyncio.wait({future}, timeout=within_s)
    return future.done()


async def _judge(child: Child, data: bytes) -> Ended:
    """Read the one frame that a child wrote; it may be anything."""
    head, body = data[: frames.HEADER_BYTES], data[frames.HEADER_BYTES :]
    try:
        if len(head) < frames.HEADER_BYTES or len(body) < frames.size(
            head, bytes_max=limits.RESULT_BYTES_MAX
        ):
            return Ended(None, "crashed", await _how(child))
        if len(body) > int.from_bytes(head, "big"):
            return Ended(None, "result_invalid", "more than one frame")
        message = frames.decode(body, depth_max=limits.RESULT_DEPTH_MAX + 1)
    except frames.FrameError as error:
        return Ended(None, "result_invalid", error.problem)
    match message:
        case {"result": dict() as result, **rest} if not rest:
            return Ended(result)
        case {
            "error": {"code": str() as code, "message": str() as text, **more},
            **rest,
        } if not (rest or more):
            return Ended(None, "connector_error", _declared(code, text))
        case _:
            return Ended(None, "result_invalid", "shape")


def _declared(code: str, text: str) -> str:
    """Cut and clean what connector code says of its failure; people may read it."""
    word = code if _CODE.fullmatch(code) else "undeclared"
    clean = _UNPRINTABLE.sub("?", text[: limits.ERROR_MESSAGE_CHARS_MAX])
    return f"{word}: {clean}"


async def _how(child: Child) -> str:
    """Return what the zygote says of a child's end; only people read it."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(asyncio.shield(child.reported), _REPORT_S)
    return "it ended without a result"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

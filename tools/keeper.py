"""Keep one zygote alive for a connector, and bound how many calls it has at work.

One child is forked ahead, so that a call need not wait for the fork. It serves one call
like any other child: none is ever used twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from tools import limits
from tools.zygote_link import Child, Order, ZygoteError, ZygoteLink, start_zygote

LOG: Final = logging.getLogger("counterfoil.runner")

_STEADY_S: Final = 1.0
_REFILL_S: Final = 0.002
_PAUSE_S: Final = 0.1
_PAUSE_S_MOST: Final = 5.0

Check = Callable[[ZygoteLink], Awaitable[None]]
"""Raises ZygoteError if children are not confined; no connector has run by then."""


class TooBusyError(Exception):
    """Every place is taken, and so is every place in the queue."""


class Keeper:
    """A zygote that is replaced when it ends, and the places for its calls."""

    def __init__(self, name: str, order: Order, *, check: Check) -> None:
        """Keep a zygote by an order; every new one is checked before it takes calls."""
        self.name = name
        self._order = order
        self._check = check
        self._link: ZygoteLink | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._places = asyncio.Semaphore(limits.CALLS_MAX)
        self._waiting = 0
        self._spare: Child | None = None
        self._problem: ZygoteError | None = None

    async def start(self) -> None:
        """Start the first zygote, and keep it from then on.

        Raises:
            ZygoteError: It could not be started, confined or checked. If only
                preloading the connector failed, that is logged, and tried again.
        """
        try:
            self._link = await self._start()
        except ZygoteError as error:
            if error.stage != "import":
                raise
            self._problem = error
            LOG.error("zygote %s: %s", self.name, error)  # noqa: TRY400 says all
        self._refill()
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the zygote and its children."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._link:
            self._link.end("the dispatcher ends")
        self._drop_spare()

    @asynccontextmanager
    async def child(self) -> AsyncIterator[tuple[ZygoteLink, Child]]:
        """Take one of the places, and a child for one call; wait for it if need be.

        The child is killed at the end, if it still lives.

        Raises:
            TooBusyError: QUEUE_MAX calls are waiting already.
            ZygoteError: The last attempt to start a zygote failed, or none came to life
                within ZYGOTE_START_S_MAX.
            OSError: There are no descriptors left.
        """
        if self._places.locked() and self._waiting >= limits.QUEUE_MAX:
            raise TooBusyError
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            link = await self._living()
            child = self._take_spare() or link.fork()
            try:
                yield link, child
            finally:
                link.forget(child)
        finally:
            self._places.release()
            # Forking ahead must not slow down the call whose receipt is fetched now.
            asyncio.get_running_loop().call_later(_REFILL_S, self._refill)

    @property
    def pid(self) -> int:
        """The living zygote's process id, or 0."""
        return self._link.pid if self._link else 0

    def _take_spare(self) -> Child | None:
        """Return the child that was forked ahead, if it lives and its zygote does."""
        if self._spare and self._spare.ended.done():
            # A connector whose import ends its process leaves a dead spare behind. None
            # takes its place before the next call, so that this does not go round.
            self._drop_spare()
        spare, self._spare = self._spare, None
        return spare

    def _drop_spare(self) -> None:
        if self._spare:
            if self._link:
                self._link.forget(self._spare)
            self._spare = None

    def _refill(self) -> None:
        link = self._link
        if self._spare is None and link is not None and not link.ended.done():
            with contextlib.suppress(ZygoteError, OSError):
                self._spare = link.fork()

    async def _living(self) -> ZygoteLink:
        try:
            async with asyncio.timeout(limits.ZYGOTE_START_S_MAX):
                while self._link is None or self._link.ended.done():
                    if self._problem:
                        # A new one: each raise would add to the other's traceback.
                        raise ZygoteError(
                            stage=self._problem.stage, why=str(self._problem)
                        )
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ZygoteError(stage="start", why=f"no zygote for {self.name}") from None
        return self._link

    async def _start(self) -> ZygoteLink:
        try:
            link = await start_zygote(self._order)
            try:
                await self._check(link)
                await link.prepare(preload=self._order.preload)
            except BaseException:
                link.end("it was not accepted")
                raise
        except OSError as error:
            # No processes, descriptors or space left, for instance.
            raise ZygoteError(stage="start", why=str(error)) from error
        return link

    async def _keep(self) -> None:
        """Replace the zygote whenever it ends; slower while it keeps ending."""
        loop = asyncio.get_running_loop()
        pause_s = _PAUSE_S
        while True:
            if self._link:
                since = loop.time()
                why = await asyncio.shield(self._link.ended)
                LOG.warning("zygote %s ended: %s", self.name, why)
                self._drop_spare()
                if loop.time() - since >= _STEADY_S:
                    pause_s = 0.0
            await asyncio.sleep(pause_s)
            pause_s = min(max(pause_s * 2, _PAUSE_S), _PAUSE_S_MOST)
            try:
                self._link = await self._start()
            except ZygoteError as error:
                self._link, self._problem = None, error
                LOG.error("zygote %s: %s", self.name, error)  # noqa: TRY400 says all
            else:
                self._problem = None
                self._refill()
            self._changed.set()

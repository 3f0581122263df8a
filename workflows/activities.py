"""What runs have done for them: questions to the broker, with an id and no more.

A failure says what happened in our own words: nothing that the broker answered, and no
token, gets into Temporal's history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from workflows.broker import Broker, BrokerAwayError, NoSuchApprovalError
from workflows.messages import EXPIRE, LOOK, NO_SUCH_APPROVAL, ROTATE, SETTLE, Standing

BEAT_EVERY_S: Final = 2.0


class BrokerActivities:
    """The activities, over one connection to the brokers."""

    def __init__(self, broker: Broker) -> None:
        """Keep whom to ask."""
        self._broker = broker

    @activity.defn(name=LOOK)
    async def look(self, approval_id: str) -> Standing:
        """Ask where an approval is."""
        return await _asked(self._broker.look, approval_id)

    @activity.defn(name=SETTLE)
    async def settle(self, approval_id: str) -> Standing:
        """Have an approved action settled."""
        return await _asked(self._broker.settle, approval_id)

    @activity.defn(name=EXPIRE)
    async def expire(self, approval_id: str) -> Standing:
        """Have done what time has made due."""
        return await _asked(self._broker.expire, approval_id)

    @activity.defn(name=ROTATE)
    async def rotate(self) -> bool:
        """Have the signing key rotated if it is time; return whether it was."""
        try:
            return await self._broker.rotate_if_due()
        except BrokerAwayError as error:
            raise ApplicationError(str(error), type="broker_away") from None

    def all(self) -> list[Callable[..., Any]]:
        """Return the activities, to be registered with a worker."""
        return [self.look, self.settle, self.expire, self.rotate]


async def _asked(
    ask: Callable[[str], Awaitable[Standing]], approval_id: str
) -> Standing:
    beating = asyncio.create_task(_beat())
    try:
        return await ask(approval_id)
    except NoSuchApprovalError as error:
        raise ApplicationError(
            str(error), type=NO_SUCH_APPROVAL, non_retryable=True
        ) from None
    except BrokerAwayError as error:
        raise ApplicationError(str(error), type="broker_away") from None
    finally:
        beating.cancel()


async def _beat() -> None:
    """Say that this worker still waits: without it, another one asks again."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(BEAT_EVERY_S)

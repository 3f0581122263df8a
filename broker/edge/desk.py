"""Accept warrants, and answer for them afterwards.

The desk knows every call of this process and, through the journal, what earlier ones
sent. Its answers only ever get better: "not sent" is final, because saying it makes it
so; "sent" may become "answered".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.core.warrants.orders import id_time, is_id, is_nonce
from broker.core.words.warrant import SentState
from broker.edge.call import Call, journal_void
from broker.edge.journal import JournalError
from broker.edge.receipts import Facts, sign_hello, sign_receipt
from broker.edge.store import StoreError
from broker.edge.warrants import (
    DRAINING,
    NO_CREDENTIAL,
    NO_EPOCHS,
    REVOKED,
    SPENT,
    TOO_BUSY,
    Here,
    Order,
    RefusedError,
    examine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.jws import PublicKey
    from broker.core.words.tool import Tool
    from broker.edge.identity import Identity
    from broker.edge.journal import Journal
    from broker.edge.store import Store
    from broker.edge.vault.rows import Rows

CALLS_MAX: Final = 256
"""Calls at work at once."""

CALLS_KEPT_MAX: Final = 1_024
"""Ended calls that are still remembered; of effectful ones the journal knows longer."""

RECEIPT_WAIT_S_MAX: Final = 4.0
"""How long a receipt waits for a request that is under way; then it says "sent"."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger()


class AnswerError(Exception):
    """A question that the desk does not answer; ``code`` says why."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code apart from a sentence."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


MALFORMED: Final = "malformed"
UNKNOWN_WARRANT: Final = "unknown_warrant"
OTHER_ACTION: Final = "other_action"
FORGOTTEN: Final = "forgotten"
NO_JOURNAL: Final = "journal_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What the desk works with."""

    identity: Identity
    here: Here
    keys: Mapping[str, PublicKey]
    tools: Mapping[str, Tool]
    journal: Journal
    store: Store
    rows: Rows
    now: Callable[[], datetime]


class Desk:
    """Who was let in, and what came of it."""

    def __init__(self, post: Post) -> None:
        """Begin with no calls; the journal was read before."""
        self._post = post
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._voided: set[str] = set()
        self._live: set[str] = set()
        self.quiet = asyncio.Event()
        self.quiet.set()
        self.draining = False

    @property
    def live(self) -> int:
        """Return how many calls have not ended."""
        return len(self._live)

    def left(self, call: Call) -> None:
        """Take note that a call has ended."""
        call.closed = call.ended = True
        self._live.discard(call.order.warrant.warrant_id)
        if not self._live:
            self.quiet.set()

    def expired(self, order: Order) -> bool:
        """Return whether a warrant has run out by now."""
        return order.warrant.expires_at <= self._post.now()

    def seconds_left(self, order: Order) -> float:
        """Return how long a call's connection may last: its warrant's rest and more."""
        rest = order.warrant.expires_at - self._post.now()
        return rest.total_seconds() + order.tool.timeout_s

    async def accept(self, token: str) -> Call:
        """Spend a warrant and open its call.

        Raises:
            RefusedError: With one of the refusal codes of `warrants`.
        """
        if self.draining:
            raise RefusedError(DRAINING, "the edge is stopping")
        if self.live >= CALLS_MAX:
            raise RefusedError(TOO_BUSY, f"{CALLS_MAX} calls are at work")
        post = self._post
        order = examine(
            token, keys=post.keys, here=post.here, tools=post.tools, now=post.now()
        )
        warrant_id = order.warrant.warrant_id
        if self._was_seen(warrant_id):
            raise RefusedError(SPENT, "the warrant was spent or voided before")
        # It is seen from here on: whoever asks while PostgreSQL is asked closes it.
        call = Call(order)
        self._keep(call)
        try:
            await self._spend(call)
        except BaseException:
            self.left(call)
            raise
        return call

    async def receipt(self, warrant_id: str) -> str:
        """End a call of this process and return its signed receipt.

        Raises:
            AnswerError: There is no such call, or the journal cannot be written.
        """
        call = self._calls.get(warrant_id)
        if call is None:
            raise AnswerError(UNKNOWN_WARRANT, "this process accepted no such warrant")
        call.closed = True
        try:
            async with asyncio.timeout(RECEIPT_WAIT_S_MAX):
                await call.idle.wait()
        except TimeoutError:
            pass
        else:
            call.hang_up()
        return self._signed(await self._final(call), nonce="")

    async def ask(self, warrant_id: str, *, action_id: str, nonce: str) -> str:
        """Return a signed receipt for any warrant made out to this edge, at once.

        A warrant that was not sent never will be: that is written to the journal before
        the answer is signed.

        Raises:
            AnswerError: The question is malformed, names another action, or is about a
                time of which the journal knows nothing.
        """
        if not (is_id(warrant_id) and is_id(action_id) and is_nonce(nonce)):
            raise AnswerError(MALFORMED, "an id or the nonce is malformed")
        call = self._calls.get(warrant_id)
        if call is not None:
            if call.order.warrant.action_id != action_id:
                raise AnswerError(OTHER_ACTION, "the warrant is for another action")
            call.closed = True
            if call.idle.is_set():
                call.hang_up()
            return self._signed(await self._final(call), nonce=nonce)
        try:
            record = self._post.journal.last(warrant_id)
            if record is None:
                record = await self._void(warrant_id, action_id)
        except JournalError as error:
            raise AnswerError(NO_JOURNAL, str(error)) from None
        if record["a"] != action_id:
            raise AnswerError(OTHER_ACTION, "the warrant is for another action")
        return self._signed(_recorded(warrant_id, record), nonce=nonce)

    def hello(self, nonce: str) -> str:
        """Return a signed word of which edge process this is.

        Raises:
            AnswerError: The nonce is malformed, or the journal is broken: an edge that
                cannot journal is no edge.
        """
        if not is_nonce(nonce):
            raise AnswerError(MALFORMED, "the nonce is malformed")
        if self._post.journal.broken:
            raise AnswerError(NO_JOURNAL, self._post.journal.broken)
        return sign_hello(
            identity=self._post.identity, nonce=nonce, now=self._post.now()
        )

    def _was_seen(self, warrant_id: str) -> bool:
        if warrant_id in self._calls or warrant_id in self._voided:
            return True
        try:
            return self._post.journal.last(warrant_id) is not None
        except JournalError:
            return True

    async def _spend(self, call: Call) -> None:
        post, warrant = self._post, call.order.warrant
        try:
            fresh, call.epochs = await post.store.spend(warrant)
            credential = await post.rows.current(warrant.connector)
        except StoreError as error:
            raise RefusedError(NO_EPOCHS, str(error)) from None
        if not fresh or call.closed:
            raise RefusedError(SPENT, "the warrant was spent or voided before")
        if call.epochs.revoked(warrant.epochs):
            raise RefusedError(REVOKED, "an epoch has moved on")
        if credential is None:
            raise RefusedError(NO_CREDENTIAL, "the connector has no credential")

    async def _final(self, call: Call) -> Facts:
        """Return the facts of a closed call, durable where they must be."""
        if call.recording is not None:
            await asyncio.shield(call.recording)
        unsent = call.state is SentState.NOT_SENT
        if unsent and call.effectful and not call.voided:
            # A tool that can cause nothing needs no void: its call is closed, and its
            # warrant names this boot.
            await journal_void(call, self._post.journal)
            if not call.voided:
                raise AnswerError(NO_JOURNAL, self._post.journal.broken)
        return call.facts()

    async def _void(self, warrant_id: str, action_id: str) -> dict[str, Any]:
        """Void a warrant that never came, if the journal reaches back to its time."""
        journal = self._post.journal
        made = id_time(warrant_id)
        if made is None:
            raise AnswerError(MALFORMED, "the warrant's id is no UUIDv7")
        if made <= _EPOCH + timedelta(milliseconds=journal.horizon_ms):
            detail = "the journal does not reach back to this warrant"
            raise AnswerError(FORGOTTEN, detail)
        self._voided.add(warrant_id)
        try:
            await journal.append("void", warrant=warrant_id, a=action_id)
        finally:
            # Once the journal has it, the journal is asked; if not, nothing is sent.
            if not journal.broken:
                self._voided.discard(warrant_id)
        _log.info("voided", warrant=warrant_id, action=action_id)
        return {"k": "void", "a": action_id}

    def _signed(self, facts: Facts, *, nonce: str) -> str:
        return sign_receipt(
            facts, identity=self._post.identity, nonce=nonce, now=self._post.now()
        )

    def _keep(self, call: Call) -> None:
        self._calls[call.order.warrant.warrant_id] = call
        self._live.add(call.order.warrant.warrant_id)
        self.quiet.clear()
        while len(self._calls) > CALLS_KEPT_MAX:
            oldest = next(iter(self._calls))
            if not self._calls[oldest].ended:
                self._calls.move_to_end(oldest)
                continue
            del self._calls[oldest]


def _recorded(warrant_id: str, record: Mapping[str, Any]) -> Facts:
    """Return the facts in a warrant's newest journal record."""
    states = {
        "sent": SentState.SENT,
        "answered": SentState.ANSWERED,
        "void": SentState.NOT_SENT,
    }
    return Facts(
        warrant=warrant_id,
        action=record["a"],
        state=states[record["k"]],
        upstream_status=record.get("status", 0),
        values=record.get("values", {}),
        requests=tuple(record.get("requests", ())),
        alarms=tuple(record.get("alarms", ())),
    )

"""The executor: runner and edge behind one place, reached by pooled connections.

A warrant is signed here and nowhere else. What the runner says about a result is kept
for the release filter; what happened is read from the edge's signed receipt only.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from broker.core.execute import RunError
from broker.core.jws import JwsError, sign, verify
from broker.core.notices.orders import NoticeError, order_claims
from broker.core.notices.orders import parse_receipt as parse_notice_receipt
from broker.core.warrants.orders import (
    OrderError,
    parse_hello,
    parse_receipt,
    warrant_claims,
)
from broker.core.warrants.probes import PROBE_TYP, probe_claims
from broker.core.warrants.sandbox import (
    POSTURES,
    Sandbox,
    SandboxError,
    read_sandbox,
)
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.notice import (
    NOTICE_RECEIPT_TYP,
    NOTICE_TYP,
    Carried,
    CarriedState,
)
from broker.core.words.warrant import EDGE_HELLO_TYP, RECEIPT_TYP, WARRANT_TYP
from broker.effects.keyfiles import KeyFileError, PublicKeyFile
from broker.effects.runner.line import Line, LostAnswerError, down
from broker.ports import Ran

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from broker.core.jwk import PrivateKey, PublicKey
    from broker.core.warrants.probes import ProbeOrder
    from broker.core.words.notice import NoticeOrder
    from broker.core.words.warrant import Receipt, Warrant
    from broker.effects.runner.place import TlsRunner

ASK_S_MAX = 4.0
CARRY_S_MAX = 6.0
HELLO_S_MAX = 2.0
HELLO_KEPT_S = 1.0
"""How long an edge's greeting, or its silence, is believed."""
# The runner ends a call at the manifest's deadline; this much later it is gone itself.
RUN_GRACE_S = 6.0
NO_SANDBOX_HINT = "have the runner started without COUNTERFOIL_SANDBOX=off"
_EDGE_SPEAKS = frozenset({"edge_refused", "edge_unavailable"})


class SocketExecutor:
    """The Executor port over the runner's unix socket, or mutual TLS."""

    def __init__(  # noqa: PLR0913  (what it is, by name)
        self,
        place: str | TlsRunner,
        *,
        issuer: str,
        key: PrivateKey | Callable[[], PrivateKey],
        receipt_key: Path,
        consequential: Callable[[str], bool] = lambda _: True,
        on_sandbox: Callable[[Sandbox], Awaitable[None]] | None = None,
    ) -> None:
        """Keep where the runner listens and what signs and verifies.

        Args:
            place: Path of the runner's socket, or where it is reached over TLS.
            issuer: Our issuer identifier, the ``iss`` of warrants.
            key: The warrant key, or what gives the present one; its public half is
                pinned at the edge.
            receipt_key: Public JWK file of the edge's receipt key; read when needed,
                because the edge makes it at its first start.
            consequential: Says whether a tool is of Tier 3; all are if nobody says.
            on_sandbox: Records how connectors are confined, before the first of them
                runs and whenever it has changed.
        """
        self._line = Line(place)
        self._issuer = issuer
        self._key = key if callable(key) else (lambda: key)
        self._receipt_key = PublicKeyFile(receipt_key)
        self._consequential = consequential
        self._on_sandbox = on_sandbox
        self._sandbox: Sandbox | None = None
        self._recording = asyncio.Lock()
        self._hello: tuple[float, str, str] | None = None
        self._silent_until_s = float("-inf")

    async def address(self) -> tuple[str, str]:
        """Return edge id and boot id that a warrant must name.

        Raises:
            ExecutorUnavailableError: nobody answers.
            LedgerUnavailableError: how connectors are confined could not be recorded.
        """
        now = asyncio.get_running_loop().time()
        if self._hello is not None and now - self._hello[0] < HELLO_KEPT_S:
            return self._hello[1], self._hello[2]
        nonce = secrets.token_urlsafe(16)
        answer = await self._greeted(nonce)
        try:
            claims = verify(
                str(answer["edge_hello"]), keys=self._keys(), typ=EDGE_HELLO_TYP
            )
            hello = parse_hello(claims)
            sandbox = read_sandbox(answer.get("sandbox"))
        except SandboxError as error:
            raise down(str(error)) from error
        except (KeyError, JwsError, OrderError) as error:
            msg = "the edge's greeting does not verify"
            raise down(msg) from error
        if hello.nonce != nonce:
            msg = "the edge's greeting is an old one"
            raise down(msg)
        await self._record(sandbox)
        self._hello = (now, hello.edge, hello.boot)
        return hello.edge, hello.boot

    def order(self, order: ProbeOrder) -> str:
        """Return an order to try a credential, signed for the edge."""
        claims = probe_claims(order, issuer=self._issuer)
        return sign(claims, key=self._key(), typ=PROBE_TYP)

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        """Execute one warrant; the receipt in the answer is verified.

        Raises:
            ExecutorUnavailableError: nothing can have been sent for this warrant.
        """
        if self._open() and self._consequential(warrant.tool):
            msg = "the sandbox is switched off, and Tier 3 never runs without one"
            raise ExecutorUnavailableError(msg, hint=NO_SANDBOX_HINT)
        token = sign(
            warrant_claims(warrant, issuer=self._issuer),
            key=self._key(),
            typ=WARRANT_TYP,
        )
        message = {"op": "run", "warrant": token, "deadline_ms": timeout_s * 1_000}
        try:
            answer = await self._line.call(message, within_s=timeout_s + RUN_GRACE_S)
        except LostAnswerError:
            # The warrant may be at work: only the edge can say what was sent.
            return await self._asked_or_nothing(warrant)
        error = _error(answer)
        raw = answer.get("error")
        if isinstance(raw, dict) and raw.get("code") in _EDGE_SPEAKS:
            # Most often an edge that was restarted: greet it anew next time.
            self._hello = None
        if answer.get("receipt") is None:
            return await self._asked_or_nothing(warrant, error=error)
        try:
            receipt, token = self._receipt(
                answer, warrant.warrant_id, warrant.action_id
            )
        except ExecutorUnavailableError:
            # It ran, and what came back proves nothing: "not sent" least of all.
            return await self._asked_or_nothing(warrant, error=error)
        if receipt.edge != warrant.edge:
            # Another edge cannot know what the one that got the warrant has sent.
            return Ran(None, RunError("other_edge", "another edge answered"), None)
        result = answer.get("result")
        posture = str(answer.get("posture"))
        return Ran(
            result if isinstance(result, dict) else None,
            error,
            receipt,
            token,
            posture=posture if posture in POSTURES else "",
        )

    async def ask(self, warrant_id: str, action_id: str) -> Ran:
        """Ask what was sent; "not sent" is final from then on.

        Raises:
            ExecutorUnavailableError: nobody can say now.
        """
        nonce = secrets.token_urlsafe(16)
        message = {
            "op": "ask",
            "warrant": warrant_id,
            "action": action_id,
            "nonce": nonce,
        }
        try:
            answer = await self._line.call(message, within_s=ASK_S_MAX)
        except LostAnswerError as error:
            msg = "the executor did not answer"
            raise down(msg) from error
        if not answer.get("ok") or answer.get("receipt") is None:
            msg = "the edge cannot say now what was sent"
            raise down(msg)
        receipt, token = self._receipt(answer, warrant_id, action_id)
        if receipt.nonce != nonce:
            msg = "the edge's answer is an old one"
            raise down(msg)
        return Ran(
            None, RunError("interrupted", "the call was interrupted"), receipt, token
        )

    async def carry(self, order: NoticeOrder) -> Carried:
        """Have a notice sent under a single-use order; the receipt is verified.

        Raises:
            ExecutorUnavailableError: it was not sent, or nobody can say; it may be
                ordered again.
        """
        token = sign(
            order_claims(order, issuer=self._issuer), key=self._key(), typ=NOTICE_TYP
        )
        message = {"op": "notice", "order": token}
        try:
            answer = await self._line.call(message, within_s=CARRY_S_MAX)
        except LostAnswerError as error:
            msg = "the executor did not answer"
            raise down(msg) from error
        if answer.get("receipt") is None:
            self._hello = None
            found = _error(answer)
            code = found.code if found else "edge_unavailable"
            return Carried(CarriedState.LATER, 0, code[:64])
        try:
            claims = verify(
                str(answer["receipt"]), keys=self._keys(), typ=NOTICE_RECEIPT_TYP
            )
            return parse_notice_receipt(claims, order_id=order.order_id)
        except (JwsError, NoticeError) as error:
            msg = "the edge's receipt does not verify"
            raise down(msg) from error

    async def close(self) -> None:
        """Close idle connections."""
        self._line.close()

    async def _greeted(self, nonce: str) -> Mapping[str, Any]:
        """Return the answer to a greeting; who was silent is not asked at once again.

        Otherwise every call of an outage would wait as long as the first.
        """
        clock = asyncio.get_running_loop().time
        msg = "the executor does not answer"
        if clock() < self._silent_until_s:
            raise down(msg)
        try:
            return await self._line.call(
                {"op": "hello", "nonce": nonce}, within_s=HELLO_S_MAX
            )
        except LostAnswerError as error:
            self._silent_until_s = clock() + HELLO_KEPT_S
            raise down(msg) from error

    def _open(self) -> bool:
        """Say whether the runner said that it confines nothing."""
        return self._sandbox is not None and self._sandbox.switched_off

    async def _record(self, sandbox: Sandbox) -> None:
        """Record how connectors are confined, if that is not what was recorded last."""
        async with self._recording:
            if sandbox != self._sandbox:
                if self._on_sandbox is not None:
                    await self._on_sandbox(sandbox)
                self._sandbox = sandbox

    async def _asked_or_nothing(
        self, warrant: Warrant, *, error: RunError | None = None
    ) -> Ran:
        """Fetch the receipt after a call that gave none; without one, nobody knows."""
        lost = error or RunError("lost", "the executor's answer was lost")
        try:
            asked = await self.ask(warrant.warrant_id, warrant.action_id)
        except ExecutorUnavailableError:
            return Ran(None, lost, None)
        return Ran(None, lost, asked.receipt, asked.receipt_jws)

    def _receipt(
        self, answer: Mapping[str, Any], warrant_id: str, action_id: str
    ) -> tuple[Receipt, str]:
        token = str(answer["receipt"])
        try:
            receipt = parse_receipt(verify(token, keys=self._keys(), typ=RECEIPT_TYP))
        except (JwsError, OrderError) as error:
            msg = "the edge's receipt does not verify"
            raise down(msg) from error
        if receipt.warrant_id != warrant_id or receipt.action_id != action_id:
            msg = "the edge's receipt is for another action"
            raise down(msg)
        return receipt, token

    def _keys(self) -> Mapping[str, PublicKey]:
        try:
            return self._receipt_key.keys()
        except KeyFileError as error:
            msg = "the edge's receipt key cannot be read"
            raise down(msg) from error


def _error(answer: Mapping[str, Any]) -> RunError | None:
    error = answer.get("error")
    if not isinstance(error, dict):
        return None
    detail = str(error.get("detail", ""))
    code = str(error.get("code", "crashed"))
    # The edge's own words are the better reason: revoked, warrant_spent, ...
    return RunError(detail if code == "edge_refused" and detail else code, detail)

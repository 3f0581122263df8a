"""Ask the signer process for the log's head and for signatures."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import CanonicalError
from broker.core.frames import (
    HEADER_BYTES,
    FrameError,
    body_bytes,
    decode_body,
    encode_frame,
)
from broker.core.transparency.signing import (
    SIGNER_FRAME_MAX,
    SigningRefusedError,
    parse_signer_head,
    sign_request_message,
)
from broker.core.words.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.transparency.signing import SignerHead, SignRequest

ANSWER_S_MAX: Final = 3.0
"""The signer answers within this time, or counts as down."""

_REFUSALS: Final = ("wrong_origin", "shrunk", "moved", "inconsistent")


class SignerClient:
    """One connection to the signer, made anew whenever it broke."""

    def __init__(self, socket: str) -> None:
        """Keep the socket's path; nothing is opened yet."""
        self._socket = socket
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def head(self) -> SignerHead:
        """Return the signer's key and the last head that it signed.

        Raises:
            LedgerUnavailableError: The signer does not answer.
        """
        answer = await self._ask({"op": "head"})
        if answer.get("ok") is not True:
            raise _down(str(answer.get("error")))
        try:
            return parse_signer_head(answer)
        except SigningRefusedError as error:
            raise _down(str(error)) from None

    async def sign(self, request: SignRequest) -> str:
        """Return the signed note of a head.

        Raises:
            SigningRefusedError: The head does not follow from the last one signed.
            LedgerUnavailableError: The signer does not answer.
        """
        answer = await self._ask(sign_request_message(request))
        note = answer.get("note")
        if answer.get("ok") is True and isinstance(note, str):
            return note
        error = answer.get("error")
        told = error if isinstance(error, dict) else {}
        for problem in _REFUSALS:
            if told.get("code") == problem:
                raise SigningRefusedError(problem=problem, detail=str(told["detail"]))
        raise _down(str(told.get("detail")))

    async def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            _, writer = self._open
            self._open = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    return await self._exchange(message)
            except (
                OSError,
                asyncio.IncompleteReadError,
                FrameError,
                CanonicalError,
                TimeoutError,
            ) as error:
                await self.close()
                raise _down(type(error).__name__) from error
            except asyncio.CancelledError:
                # The answer that is now on its way belongs to nobody.
                await self.close()
                raise

    async def _exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if self._open is None or self._open[0].at_eof():
            await self.close()
            self._open = await asyncio.open_unix_connection(self._socket)
        reader, writer = self._open
        writer.write(encode_frame(message, frame_max=SIGNER_FRAME_MAX))
        await writer.drain()
        header = await reader.readexactly(HEADER_BYTES)
        body = await reader.readexactly(body_bytes(header, frame_max=SIGNER_FRAME_MAX))
        return decode_body(body, frame_max=SIGNER_FRAME_MAX)


def _down(why: str) -> LedgerUnavailableError:
    msg = f"the signer does not answer ({why})"
    return LedgerUnavailableError(msg, retry_after_s=2)

"""Answer what the signer is asked: the last signed head, and to sign the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.transparency.checkpoint import Checkpoint
from broker.core.transparency.merkle import EMPTY_ROOT
from broker.core.transparency.signing import (
    Former,
    SignerHead,
    SigningRefusedError,
    parse_sign_request,
    require_successor,
    signer_head_message,
)
from broker.signer.files import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.transparency.signing import SignRequest
    from broker.signer.files import Files, LogKey, Order


class Notary:
    """The signer without its socket; one thread uses it."""

    def __init__(
        self,
        files: Files,
        *,
        name: str,
        publish: Callable[[SignerHead], None] = lambda _: None,
    ) -> None:
        """Load key and last head, and open a new origin if a person ordered it.

        Args:
            files: The signer's folder.
            name: What a new origin begins with.
            publish: Called with every identity that the signer takes, so that its keys
                become known.

        Raises:
            DamagedError: What was signed last is not known, and nobody ordered a new
                origin.
        """
        self._files = files
        self._name = name
        self._publish = publish
        order = files.order()
        if order is None:
            self._key, self._last, self._note = files.load(name=name)
        else:
            self._key, self._last, self._note = self._renewed(order)
        publish(self.head)

    @property
    def head(self) -> SignerHead:
        """The present key, the last signed head and the former origins."""
        return SignerHead(self._key.verifier, self._last, self._key.former)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one message; a refusal is an answer too.

        Raises:
            OSError: What would have to be kept could not be written; nothing is signed.
            DamagedError: A new origin was ordered and cannot be opened.
        """
        self._obey()
        try:
            match message.get("op"):
                case "head":
                    return signer_head_message(self.head)
                case "sign":
                    return {"ok": True, "note": self._sign(parse_sign_request(message))}
                case _:
                    detail = "the signer knows the operations head and sign"
                    return _refused("malformed", detail)
        except SigningRefusedError as refusal:
            return _refused(refusal.problem, str(refusal))

    def _sign(self, request: SignRequest) -> str:
        require_successor(self._last, request)
        if request.checkpoint != self._last:
            note = self._key.sign(request.checkpoint)
            self._files.keep_head(note)
            # If we die here, nobody has the note; asked again, we give it out.
            self._last, self._note = request.checkpoint, note
        return self._note

    def _obey(self) -> None:
        """Open a new origin if a person ordered one since the last message."""
        order = self._files.order()
        if order is not None:
            self._key, self._last, self._note = self._renewed(order)
            self._publish(self.head)

    def _renewed(self, order: Order) -> tuple[LogKey, Checkpoint, str]:
        try:
            key, last, _ = self._files.load(name=self._name)
        except DamagedError:
            # The last head is lost: that origin is given up as if it had signed none.
            key = self._files.lost_key()
            last = Checkpoint(key.origin, 0, EMPTY_ROOT)
        given_up = Former(key.verifier.vkey, last, order.reason, order.at)
        if given_up.at not in {each.at for each in key.former}:
            renewed = self._files.open_origin(
                name=self._name, former=(*key.former, given_up)
            )
        else:
            # If we died before removing the order, it was carried out already.
            renewed = self._files.load(name=self._name)
        self._files.order_done()
        return renewed


def _refused(code: str, detail: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "detail": detail}}

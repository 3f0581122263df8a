"""Tokens whose signature was verified before: the same bytes under the same key again.

Only the signature is remembered. Audience, times, epochs, the holder's row and the
proof are checked anew on every call. What is kept is named by a hash, not by the token.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from broker.core.authenticate import read_access_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.authenticate import ReadToken
    from broker.core.jwk import PublicKey

TOKENS_KEPT_MAX: Final = 4_096


class ReadTokens:
    """Reads access tokens, and remembers the latest used."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: OrderedDict[bytes, ReadToken] = OrderedDict()

    def read(self, token: str, keys: Mapping[str, PublicKey]) -> ReadToken:
        """Return what a token says.

        Raises:
            UnauthenticatedError: It is not one of ours.
        """
        name = sha256(token.encode()).digest()
        found = self._kept.get(name)
        # A key that was taken out of use takes its tokens along.
        if found is not None and found.kid in keys:
            self._kept.move_to_end(name)
            return found
        found = read_access_token(token, keys)
        self._kept[name] = found
        while len(self._kept) > TOKENS_KEPT_MAX:
            self._kept.popitem(last=False)
        return found

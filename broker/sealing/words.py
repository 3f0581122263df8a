"""What a key provider is, where a transit engine is, and how either fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class SealError(ValueError):
    """Something that cannot be sealed or opened; the text never holds it."""


class KeyProvider(Protocol):
    """Wraps keys with one that it does not give away."""

    @property
    def kek_id(self) -> str:
        """Return a name of the wrapping key that does not give it away."""

    async def wrap(self, key: bytes, *, bound: bytes) -> bytes:
        """Return a key, wrapped and bound.

        Raises:
            SealError: The provider does not answer, or refuses.
        """

    async def unwrap(self, wrapped: bytes, *, bound: bytes) -> bytes:
        """Return the key that was wrapped for exactly this.

        Raises:
            SealError: It was not, or the provider does not answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Transit:
    """Where the transit engine is; a key's name there, and the file of a token."""

    url: str
    key: str
    token_file: Path
    mount: str
    namespace: str
    ca_file: str


def read_transit(read: Mapping[str, str], prefix: str) -> Transit | None:
    """Return the transit engine that variables name, or None if they name none.

    Args:
        read: The environment.
        prefix: What the variables begin with, such as ``COUNTERFOIL_EDGE_TRANSIT``.

    Raises:
        SealError: One is missing or malformed; the text names it, never its value.
    """
    url = read.get(f"{prefix}_URL", "")
    if not url:
        return None
    local = url.startswith(("http://127.0.0.1:", "http://[::1]:"))
    if not (local or url.startswith("https://")):
        msg = f"{prefix}_URL is https, or a plain loopback address"
        raise SealError(msg)
    for name in ("KEY", "TOKEN_FILE"):
        if not read.get(f"{prefix}_{name}"):
            msg = f"{prefix}_{name} is not set"
            raise SealError(msg)
    return Transit(
        url=url,
        key=read[f"{prefix}_KEY"],
        token_file=Path(read[f"{prefix}_TOKEN_FILE"]).absolute(),
        mount=read.get(f"{prefix}_MOUNT", "transit"),
        namespace=read.get(f"{prefix}_NAMESPACE", ""),
        ca_file=read.get(f"{prefix}_CA_FILE", ""),
    )

"""What a caller hands to the group commit, and what it gets back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from broker.core.transparency.entry_leaf import EntryError, about_of, open_entry
from broker.core.transparency.merkle import leaf_hash

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from broker.core.jwk import PublicKey

LEAVES_MAX: Final = 100
"""Most entries in one job."""

_FUNCTION = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class SqlCall:
    """Rows of the caller's own that must be stored together with its entries.

    The calls of one batch are made at once: ``function`` takes an array for each of
    ``args`` and finds this call's values at one position in all of them. It returns
    nothing, or an array of booleans; false at a position means that nothing was stored
    for that call, and then its entries are not recorded either.

    Attributes:
        function: Name of an SQL function that cf_broker may execute.
        args: One value per parameter.
    """

    function: str
    args: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Refuse anything but a plain name: it becomes part of a statement."""
        if _FUNCTION.fullmatch(self.function) is None:
            msg = "an SQL function has a plain lower-case name"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry whose signature was verified."""

    entry_id: str
    about_id: str | None
    data: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the log has an entry, for good.

    Attributes:
        seq: 0-based position.
        entry_id: The entry.
        leaf_hash: What the Merkle tree has at that position.
    """

    seq: int
    entry_id: str
    leaf_hash: bytes


Outcome: TypeAlias = "tuple[Placed, ...] | None"
"""None: the job's own rows were not stored, and so nothing was recorded."""


@dataclass(slots=True, eq=False)
class Job:
    """One caller's part of a batch.

    Attributes:
        done: Set when the batch is committed, or cannot be.
        leaves: Entries to append.
        staged: Ids of entries that a committed transaction has staged.
        call: Rows to store in the same transaction.
        sweep: Take along what others have staged and not integrated.
    """

    done: asyncio.Future[Outcome]
    leaves: tuple[Leaf, ...] = ()
    staged: tuple[str, ...] = ()
    call: SqlCall | None = None
    sweep: bool = field(default=False)

    @property
    def weight(self) -> int:
        """Bytes that this job adds to a batch."""
        return sum(len(leaf.data) for leaf in self.leaves)


def read_leaf(data: bytes, keys: Mapping[str, PublicKey]) -> Leaf:
    """Verify one sealed entry.

    Raises:
        EntryError: It is not an entry signed by one of the keys.
    """
    entry = open_entry(data, keys)
    return Leaf(entry["entry_id"], _uuid(about_of(entry)), data, leaf_hash(data))


def read_staged(data: bytes, keys: Mapping[str, PublicKey], *, entry_id: str) -> Leaf:
    """Verify one staged entry, and that it stands under its own id.

    Raises:
        EntryError: It is not an entry signed by one of the keys, or is another one.
    """
    leaf = read_leaf(data, keys)
    if leaf.entry_id != entry_id:
        detail = "the staged row names another entry than it holds"
        raise EntryError(problem="malformed", detail=detail)
    return leaf


def _uuid(text: str | None) -> str | None:
    """Return an id that the column for searching can hold, or None."""
    plain = (text or "").replace("-", "")
    is_uuid = len(plain) == 32 and all(c in "0123456789abcdef" for c in plain)  # noqa: PLR2004
    return text if is_uuid else None

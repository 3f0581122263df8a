"""Rows that were read out of their bodies: once per revision, because none changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.registry.authority import AuthorityRow

T = TypeVar("T")

PARSED_MAX: Final = 10_000


class Parsed(Generic[T]):
    """A parser of rows that remembers; a row that does not parse gives None."""

    def __init__(self, parse: Callable[[AuthorityRow], T]) -> None:
        """Keep the parser; it raises RowError for a body that does not count."""
        self._parse = parse
        self._kept: OrderedDict[tuple[str, str, int], T | None] = OrderedDict()

    def of(self, row: AuthorityRow | None) -> T | None:
        """Return what the row says, or None if there is none or it cannot be read."""
        if row is None:
            return None
        key = (row.kind, row.row_id, row.revision)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        try:
            parsed: T | None = self._parse(row)
        except RowError:
            parsed = None
        self._kept[key] = parsed
        while len(self._kept) > PARSED_MAX:
            self._kept.popitem(last=False)
        return parsed

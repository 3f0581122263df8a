"""Walk through rules as Cedar's own parser reads them.

Source: Cedar's syntax tree as cedarpy.pst gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cedarpy import pst

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet


def parts(node: object) -> Iterator[object]:
    """Yield the nodes right below a node."""
    for name in getattr(type(node), "__dataclass_fields__", {}):
        value = getattr(node, name)
        for one in value if isinstance(value, tuple) else (value,):
            pair = one if isinstance(one, tuple) else (one,)
            yield from (part for part in pair if hasattr(part, "__dataclass_fields__"))


def looked_at(
    rules: Iterable[pst.Template], *, records: AbstractSet[str]
) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """Return what of the context rules look at, and what of some records in it.

    Args:
        rules: The rules.
        records: Attributes that are records: of these, each field counts.

    Returns:
        Names of attributes, and names of fields of those records. None is all of them:
        a rule takes the context, or a record, as a whole.
    """
    names: set[str] = set()
    fields: set[str] = set()
    whole = whole_record = False
    waiting: list[object] = [clause for rule in rules for clause in rule.clauses]
    while waiting:
        node = waiting.pop()
        path = _path(node)
        if path is None:
            waiting += parts(node)
            continue
        whole = whole or not path
        names.update(path[:1])
        if path and path[0] in records:
            whole_record = whole_record or len(path) == 1
            fields.update(path[1:2])
    return (
        None if whole else frozenset(names),
        None if whole or whole_record else frozenset(fields),
    )


def _path(node: object) -> tuple[str, ...] | None:
    """Return the way from the context to a value; None if it does not begin there."""
    match node:
        case pst.Var(name="context"):
            return ()
        case pst.GetAttr(base=base, attr=attr):
            before = _path(base)
            return None if before is None else (*before, attr)
        case pst.HasAttr(base=base, attrs=attrs):
            before = _path(base)
            return None if before is None else (*before, *attrs)
        case _:
            return None

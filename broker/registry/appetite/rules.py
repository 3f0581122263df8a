"""Look into rules: how they take a signature, and what they compare with.

Source: Cedar's syntax tree as cedarpy.pst gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cedarpy import pst

from broker.registry.policy.tree import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURES: Final = frozenset({"approved", "standing"})
"""What of the context says that somebody signed."""


def misread_signature(rule: pst.Template) -> str:
    """Return the signature that makes this rule's answer stricter, or nothing.

    A permit may wait for a signature and a forbid may end with one. A rule the other
    way round would ban what people approve: approvals themselves.
    """
    wanted = rule.effect == "permit"
    for clause in rule.clauses:
        positive = isinstance(clause, pst.When)
        for name, sign in _signs(clause.expr, positive=positive):
            if sign is not wanted:
                return name
    return ""


def is_unconditional(rule: pst.Template) -> bool:
    """Return whether a rule fits every request there is."""
    scopes = (rule.principal, rule.action, rule.resource)
    return not rule.clauses and all(isinstance(s, pst.ScopeAny) for s in scopes)


def actions_named(rule: pst.Template) -> frozenset[str]:
    """Return the actions and groups that a rule's head names."""
    match rule.action:
        case pst.ActionEq(entity=one):
            return frozenset({one.id})
        case pst.ActionIn(entities=many):
            return frozenset(one.id for one in many)
        case _:
            return frozenset()


def literals(rule: pst.Template) -> Iterator[tuple[str, str | int]]:
    """Return what a rule compares parts of the context with: (name, value) pairs."""
    for clause in rule.clauses:
        yield from _literals(clause.expr)


def _signs(expr: object, *, positive: bool) -> Iterator[tuple[str, bool | None]]:
    """Return each signature with the sign that it has here; None where both count."""
    match expr:
        case pst.GetAttr(base=pst.Var(name="context"), attr=attr) if attr in SIGNATURES:
            yield attr, positive
        case pst.UnaryOp(op="not", arg=arg):
            yield from _signs(arg, positive=not positive)
        case pst.BinaryOp(op="and" | "or", left=left, right=right):
            yield from _signs(left, positive=positive)
            yield from _signs(right, positive=positive)
        case _:
            # Compared, counted or chosen by: it may matter either way.
            for part in parts(expr):
                for name, _ in _signs(part, positive=positive):
                    yield name, None


def _literals(expr: object) -> Iterator[tuple[str, str | int]]:
    if isinstance(expr, pst.BinaryOp):
        names = [_attribute(expr.left), _attribute(expr.right)]
        for name in names:
            if name:
                for value in (*_values(expr.left), *_values(expr.right)):
                    yield name, value
    for part in parts(expr):
        yield from _literals(part)


def _attribute(expr: object) -> str:
    """Return the context's attribute that an expression is about, looking through +."""
    match expr:
        case pst.GetAttr(base=pst.Var(name="context" | "principal"), attr=attr):
            return attr
        case pst.BinaryOp(op="add", left=left, right=right):
            return _attribute(left) or _attribute(right)
        case _:
            return ""


def _values(expr: object) -> Iterator[str | int]:
    match expr:
        case pst.StringLit(value=text):
            yield text
        case pst.LongLit(value=number):
            yield number
        case pst.Set(elements=elements):
            for element in elements:
                yield from _values(element)
        case _:
            return

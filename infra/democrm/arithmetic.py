"""Work out what a clerk would type into a pocket calculator, exactly.

Source: the shop's tool ``calculate``: numbers, + - * / and parentheses.
"""

import ast
from decimal import Decimal, DecimalException, localcontext
from typing import Final

from infra.democrm.limits import EXPRESSION_CHARS_MAX

_ALPHABET: Final = frozenset("0123456789+-*/(). ")
_PRECISION: Final = 28
_CENTS: Final = Decimal("0.01")


class ArithmeticRefusedError(ValueError):
    """An expression that cannot be worked out; the message says why."""


def evaluate(expression: str) -> str:
    """Return the value, rounded to two places, as a decimal number without zeros.

    Raises:
        ArithmeticRefusedError: It is too long, is no expression, divides by
            zero, or is too large to be exact.
    """
    if len(expression) > EXPRESSION_CHARS_MAX or not _ALPHABET.issuperset(expression):
        msg = f"takes numbers and + - * / ( ), at most {EXPRESSION_CHARS_MAX} of them"
        raise ArithmeticRefusedError(msg)
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        with localcontext(prec=_PRECISION):
            value = _value(tree.body, expression.strip())
            rounded = value.quantize(_CENTS)
    except (SyntaxError, DecimalException, MemoryError, RecursionError):
        msg = "cannot be worked out"
        raise ArithmeticRefusedError(msg) from None
    return f"{rounded:f}".rstrip("0").rstrip(".") if rounded else "0"


def _value(node: ast.expr, text: str) -> Decimal:
    # As deep as the expression is long at most, which is not deep.
    match node:
        case ast.Constant():
            # The text itself: 0.1 as a float is already another number.
            return Decimal(ast.get_source_segment(text, node) or "")
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, text)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner, text)
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(_value(left, text), op, _value(right, text))
        case _:
            msg = "takes numbers and + - * / ( ) only"
            raise ArithmeticRefusedError(msg)


def _combined(one: Decimal, op: ast.operator, other: Decimal) -> Decimal:
    match op:
        case ast.Add():
            return one + other
        case ast.Sub():
            return one - other
        case ast.Mult():
            return one * other
        case ast.Div():
            return one / other
        case _:
            msg = "takes + - * / only"
            raise ArithmeticRefusedError(msg)

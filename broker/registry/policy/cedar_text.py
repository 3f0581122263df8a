"""Bounds on Cedar text, before Cedar itself sees it, and where in it a rule stands.

Cedar's parser recurses: a few hundred brackets within each other end the process that
reads them, and no error can be caught. So text is first read here, in one pass and
without recursion, and refused with its line if it is longer, deeper or busier than
anybody's policy has to be.

Measured with cedarpy 4.12: 1,000 nested brackets end the process, 1,000 terms in one
chain are read; the bounds keep a distance from both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CEDAR_BYTES_MAX: Final = 262_144
RULES_MAX: Final = 500
NESTING_MAX: Final = 32
"""Most brackets within each other."""

RULE_TOKENS_MAX: Final = 2_000
"""Most words and signs of one rule: what one rule can cost at each decision."""

LIKES_MAX: Final = 4
"""Most ``like`` patterns of one rule."""

WILDCARDS_MAX: Final = 4
"""Most ``*`` in one pattern."""

# Strings and comments end where Cedar's own reader ends them: what it reads as code
# must not look like a string from here.
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n\r]*)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)
      | (?P<sign>&&|\|\||==|!=|<=|>=|::|.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_RULE_ID = re.compile(r'@id\(\s*"((?:[^"\\\n]|\\.)*)"\s*\)')


class PolicyError(ValueError):
    """A policy that cannot be published; the message names the place and the reason.

    ``rule`` is the ``@id`` of the rule at fault, if it is one rule's.
    """

    def __init__(self, message: str, *, rule: str = "") -> None:
        """Keep whose fault it is beside what is wrong."""
        super().__init__(message)
        self.rule = rule


def check_text(cedar: str, *, name: str) -> None:
    """Refuse Cedar text that would cost too much to parse or to evaluate.

    Args:
        cedar: The text.
        name: What to call it in errors, normally the file's name.

    Raises:
        PolicyError: it is longer, deeper or busier than the bounds; with the line.
    """
    if len(cedar.encode()) > CEDAR_BYTES_MAX:
        msg = f"{name}: the policy is longer than {CEDAR_BYTES_MAX} bytes"
        raise PolicyError(msg)
    for number, rule in enumerate(_by_rule(cedar)):
        problem = "" if number < RULES_MAX else f"more than {RULES_MAX} rules"
        problem = problem or _too_much(rule)
        if problem:
            msg = f"{name} line {line_at(cedar, rule[0][1])}: {problem}"
            raise PolicyError(msg)


def _too_much(rule: list[tuple[str, int]]) -> str:
    """Return which bound one rule goes past, or nothing."""
    if len(rule) > RULE_TOKENS_MAX:
        return f"more than {RULE_TOKENS_MAX} words and signs in one rule"
    depth = likes = 0
    before = ""
    for word, _ in rule:
        depth += (word in _OPEN) - (word in _CLOSE)
        if depth > NESTING_MAX:
            return f"more than {NESTING_MAX} brackets in each other"
        likes += word == "like"
        if likes > LIKES_MAX:
            return f"more than {LIKES_MAX} like patterns in one rule"
        if before == "like" and word.count("*") > WILDCARDS_MAX:
            return f"more than {WILDCARDS_MAX} * in one pattern"
        before = word
    return ""


def lines_of_rules(cedar: str) -> dict[str, int]:
    """Return the line of each ``@id``, the first one where it is shared."""
    found: dict[str, int] = {}
    for match in _RULE_ID.finditer(cedar):
        found.setdefault(match[1], line_at(cedar, match.start()))
    return found


def split_rules(cedar: str) -> list[tuple[str, int]]:
    """Return each rule's text, and the line that its first word stands on."""
    found, start = [], 0
    for rule in _by_rule(cedar):
        last, at = rule[-1]
        end = at + len(last)
        found.append((cedar[start:end], line_at(cedar, rule[0][1])))
        start = end
    return found


def line_at(text: str, position: int) -> int:
    """Return the number of the line that holds a position, counted from 1."""
    return text.count("\n", 0, position) + 1


def quoted(text: str) -> str:
    """Return a text as a Cedar string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _by_rule(cedar: str) -> Iterator[list[tuple[str, int]]]:
    """Yield the words and signs of each rule, with where they stand."""
    rule: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(cedar):
        if match.lastgroup == "skip":
            continue
        rule.append((match[0], match.start()))
        if match[0] == ";":
            yield rule
            rule = []
    if rule:
        yield rule

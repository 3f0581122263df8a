"""A pattern costs little on whatever an agent sends, or its manifest does not load."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.guard import bind
from broker.core.words.errors import InvalidError
from broker.core.words.tool import PATTERNED_CHARS_MAX
from broker.registry.patterns import (
    BRACKETS_DEPTH_MAX,
    PATTERN_CHARS_MAX,
    PATTERN_STEPS_MAX,
    REPEATS_SHORT_MAX,
    PatternError,
    check_pattern,
)
from broker.registry.tools import ManifestError, parse_manifest
from tests.registry.kit.test_lint import put, read

PLAIN = [
    "^W[0-9]{7}$",
    r"\S",
    r"^[^\s@]+@[^\s@]+$",
    "^(ch|py)_[A-Za-z0-9]{8,64}$",
    r"^([0-9]{1,3}\.){3}[0-9]{1,3}$",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:]{8}Z)?$",
    "^[]a^-]+$",
    "^(a|b|c)$",
    "^x{3,}$",
    "^.*?$",
    "",
]
HOSTILE = [
    "^(a+)+$",
    "^(a|a)*$",
    "^(a|ab)*c$",
    "^(a?)*$",
    r"^([a-zA-Z0-9]+\s?)*$",
    r"^((ab)+c?)+$",
    "^(x+x+)+y$",
    "^(a{1,20}){1,20}$",
    "^a*a*a*a*b$",
    f"^{'a?' * 26}{'a' * 26}$",
    "^(.*){17}$",
    "^((a{0,9}){0,9}){0,9}$",
]
NOT_UNDERSTOOD = [
    r"^(a)\1$",
    "^(?=a)b$",
    "^(?<!a)b$",
    "^(?i)a$",
    "^(?P<n>a)(?P=n)$",
    r"^\p{L}+$",
    r"\bword\b",
    "^a++$",
    "^*a$",
    "^a{x}$",
    "^(a$",
    "^a)$",
    "^[a$",
    "^a\\",
]


@pytest.mark.parametrize("pattern", PLAIN)
def test_what_manifests_need_is_taken(pattern):
    check_pattern(pattern)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_pattern_that_backtracks_without_end_is_refused(pattern):
    re.compile(pattern)
    with pytest.raises(PatternError):
        check_pattern(pattern, chars_max=254)


@pytest.mark.parametrize("pattern", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_refused(pattern):
    with pytest.raises(PatternError):
        check_pattern(pattern)


def test_the_cost_holds_at_the_limit_and_one_past_it():
    assert PATTERNED_CHARS_MAX**2 == PATTERN_STEPS_MAX
    check_pattern("^a*a*$", chars_max=PATTERNED_CHARS_MAX)
    with pytest.raises(PatternError, match="shorter maxLength"):
        check_pattern("^a*a*$", chars_max=PATTERNED_CHARS_MAX + 1)
    check_pattern("a" * PATTERN_CHARS_MAX)
    with pytest.raises(PatternError, match="characters"):
        check_pattern("a" * (PATTERN_CHARS_MAX + 1))


def test_brackets_and_counted_repeats_hold_at_the_limit_and_one_past_it():
    deep = BRACKETS_DEPTH_MAX
    check_pattern(f"^{'(' * deep}a{')' * deep}$")
    with pytest.raises(PatternError, match="inside each other"):
        check_pattern(f"^({'(' * deep}a{')' * deep})$")
    check_pattern(f"^(ab?){{1,{REPEATS_SHORT_MAX}}}$")
    with pytest.raises(PatternError, match="several ways"):
        check_pattern(f"^(ab?){{1,{REPEATS_SHORT_MAX + 1}}}$")


@given(pattern=st.text(alphabet="^$ab|()[]{}?*+.,\\d012:", max_size=14))
def test_whatever_is_taken_ends_on_a_text_made_to_fail(pattern):
    """One that was taken wrongly would not end before the test's own timeout."""
    try:
        check_pattern(pattern, chars_max=64)
    except PatternError:
        return
    for text in ("a" * 63 + "!", "ab" * 31 + "!", "0" * 64, "1a" * 32):
        re.search(pattern, text)


def argument(**schema: Any) -> dict[str, Any]:
    """Return a small reading tool whose one argument has this schema as well."""
    made = put(read(), "binding/objects", [])
    return put(made, "arguments/properties/ticket_id", {"type": "string", **schema})


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"pattern": "^(a+)+$"}, r"arguments\.properties\.ticket_id: the pattern"),
        ({"anyOf": [{"pattern": "^(a+)+$"}]}, "the pattern is refused"),
        ({"pattern": "^a*a*$", "maxLength": 5_000}, "shorter maxLength"),
        ({"$ref": "https://evil.example/schema"}, "nothing is fetched"),
        ({"items": {"$dynamicRef": "other.json"}}, "nothing is fetched"),
        ({"patternProperties": {"^a": {}}}, "no patterns of names"),
    ],
)
def test_a_manifest_with_a_costly_schema_does_not_load(schema, says):
    with pytest.raises(ManifestError, match=says):
        parse_manifest(argument(**schema), name="x")


def test_a_pattern_is_tried_on_no_longer_text_than_it_was_counted_for():
    tool = parse_manifest(argument(pattern="^[a-z]*[a-z0-9]*$"), name="x")
    bind(tool, {"ticket_id": "a" * PATTERNED_CHARS_MAX})
    with pytest.raises(InvalidError, match="pattern"):
        bind(tool, {"ticket_id": "a" * (PATTERNED_CHARS_MAX + 1)})
    with pytest.raises(InvalidError, match="pattern"):
        bind(tool, {"ticket_id": "A"})
    # A text that is too long anyway is not tried at all, whatever stands first.
    short = argument(pattern="^[a-z]+$", maxLength=3)
    with pytest.raises(InvalidError):
        bind(parse_manifest(short, name="x"), {"ticket_id": "a" * 10_000_000})

"""Cedar text is bounded before Cedar's own parser, which would end the process."""

from __future__ import annotations

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.registry.policy.cedar_text import (
    CEDAR_BYTES_MAX,
    LIKES_MAX,
    NESTING_MAX,
    RULE_TOKENS_MAX,
    RULES_MAX,
    WILDCARDS_MAX,
    PolicyError,
    check_text,
    lines_of_rules,
    quoted,
    split_rules,
)
from tests.support.cases import book

HEAD = '@id("a") permit(principal, action, resource)'
FRAME = len(["@", "id", "(", '"a"', ")", "permit", "(", "p", ",", "a", ",", "r", ")"])
FRAME += len(["when", "{", "}", ";"])


def when(condition: str) -> str:
    return f"{HEAD} when {{ {condition} }};"


def nested(depth: int) -> str:
    # The braces of the condition are the first brackets.
    return when("(" * (depth - 1) + "context.approved" + ")" * (depth - 1))


def likes(many: int, pattern: str = "a*") -> str:
    return when(" && ".join([f'context.channel like "{pattern}"'] * many))


def chain(tokens: int) -> str:
    return when(" || ".join(["true"] * ((tokens - FRAME + 1) // 2)))


@pytest.mark.parametrize(
    ("fits", "past", "what"),
    [
        (nested(NESTING_MAX), nested(NESTING_MAX + 1), f"more than {NESTING_MAX}"),
        (likes(LIKES_MAX), likes(LIKES_MAX + 1), "like patterns"),
        (
            likes(1, "*" * WILDCARDS_MAX),
            likes(1, "*" * (WILDCARDS_MAX + 1)),
            "in one pattern",
        ),
        (chain(RULE_TOKENS_MAX), chain(RULE_TOKENS_MAX + 2), "words and signs"),
        (f"{HEAD};" * RULES_MAX, f"{HEAD};" * (RULES_MAX + 1), "rules"),
        (" " * CEDAR_BYTES_MAX, " " * (CEDAR_BYTES_MAX + 1), "longer than"),
    ],
)
def test_text_is_read_up_to_each_bound_and_refused_one_past_it(
    fits, past, what
) -> None:
    check_text(fits, name="r.cedar")
    cedarpy.PolicySet.from_str(fits)
    with pytest.raises(PolicyError, match=rf"r\.cedar.*{what}"):
        check_text(past, name="r.cedar")


def test_what_is_too_deep_never_reaches_the_parser_that_would_end_the_process() -> None:
    with pytest.raises(PolicyError, match="line 1: more than"):
        book(nested(100_000))


@pytest.mark.parametrize("hidden", ["// {}\r", '"{}\n"', '// "\n{} "'])
def test_brackets_that_cedar_would_read_are_counted_and_others_are_not(hidden) -> None:
    deep = "(" * (NESTING_MAX + 1)
    with pytest.raises(PolicyError, match="brackets"):
        check_text(hidden.format("") + deep, name="r")
    check_text(f'// {deep}\n@text("{deep}")', name="r")


def test_the_line_of_a_refusal_is_the_rules_own() -> None:
    with pytest.raises(PolicyError, match="line 3:"):
        check_text(f"{HEAD};\n\n{nested(NESTING_MAX + 1)}", name="r")


@given(texts=st.lists(st.text(alphabet='ab"\\/;\n é', max_size=8), max_size=5))
def test_each_rule_is_split_off_whole_and_found_on_its_line(texts) -> None:
    rules = [
        f"@id({quoted(f'r{n}')}) @text({quoted(t)})\n{HEAD[9:]};"
        for n, t in enumerate(texts)
    ]
    cedar = '\n// a ; "comment\n'.join(rules)
    found = split_rules(cedar)
    assert len(found) == len(rules)
    lines = lines_of_rules(cedar)
    for number, (text, line) in enumerate(found):
        (rule,) = cedarpy.policies_to_pst(text).static_policies.values()
        assert rule.annotations["text"] == texts[number]
        assert lines[f"r{number}"] == line

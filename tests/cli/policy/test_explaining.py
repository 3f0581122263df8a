"""`policy explain` says what decides, where it is written, and what would pass."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.exits import Exit
from tests.support.cases import DEMO_POLICY, demo_sources

REFUND = 'tool = "orders.refund", currency = "USD", verification = "matched", '


def run(*words):
    return CliRunner().invoke(
        make_app("policy"), ["policy", "explain", *map(str, words)]
    )


def line_of(clause: str) -> int:
    lines = demo_sources()["appetite.toml"].splitlines()
    return lines.index(f'clause = "{clause}"')


def test_a_banned_request_names_its_clause_its_line_and_what_would_pass() -> None:
    done = run(DEMO_POLICY, "--given", f'{REFUND} amount = "6000.00"')
    assert done.exit_code == Exit.OK, done.output
    assert done.output.splitlines() == [
        "decision    not done",
        (
            "because     C3  no money moves above 5,000.00"
            f" (company.C3, appetite.toml line {line_of('C3')})"
        ),
        (
            "would pass  the amount must be at most 5,000.00 USD:"
            " 2 people with the role supervisor must sign within 24 h"
        ),
    ]


def test_a_forced_person_is_named_with_the_topic_that_forces_them() -> None:
    given = f'{REFUND} amount = "1.00", standing = true, topics = ["complaint"]'
    found = json.loads(run(DEMO_POLICY, "--given", given, "--json").stdout)
    assert found["decision"] == "escalate"
    assert [r["clause"] for r in found["reasons"]] == ["C1", "T1"]
    assert found["quorum"]["approvers_min"] == 1
    assert [[c["change"] for c in w["changes"]] for w in found["would_pass"]] == [
        ["people_sign"]
    ]


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ([], Exit.USAGE, "say what to explain"),
        ([DEMO_POLICY], Exit.FAILED, "'tool' is missing"),
        ([DEMO_POLICY, "--given", 'tool = "x"'], Exit.FAILED, "no tool 'x'"),
        ([DEMO_POLICY, "--given", "tool ="], Exit.FAILED, "--given: "),
        ([DEMO_POLICY / "none"], Exit.FAILED, "no folder"),
        (
            ["--agent", "a", "--interaction", "i", "--tool", "t", "--arguments", "x"],
            Exit.USAGE,
            "no JSON object",
        ),
    ],
)
def test_a_question_that_cannot_be_asked_says_how(words, code, problem) -> None:
    done = run(*words)
    assert (done.exit_code, problem in done.output) == (code, True), done.output

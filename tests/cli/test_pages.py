"""Whatever README and pages show is run, read by a test, or a picture; nothing else.

What is run, a real stack runs: tests/interop/console/test_documentation.py.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

import jsonschema

from broker.api.document.refusals import problem_schema
from broker.core.identity.grants import parse_details
from broker.edge.egress.rules import Refusal
from broker.registry.appetite.checks import check_sources
from broker.registry.kit.lint import STALE
from tests.interop.console.pages import (
    READ_BY,
    SEEN_BY,
    blocks,
    is_make,
    pages,
    sees_to,
)
from tests.registry.kit.test_lint import found as findings
from tests.registry.kit.test_lint import refund
from tests.support.cases import all_tools, demo_sources
from tests.support.source import TOP


def snippet(page: str, words: str) -> str:
    """Return the one block of a page that has these words."""
    [text] = [text for _, text in blocks(page) if words in text]
    return text


def unseen(page: str, found: list[tuple[str, str]]) -> list[str]:
    """Return blocks that nobody sees to; those of nothing but targets are make's."""
    return [
        f"{page}: nobody runs or reads\n{text}"
        for language, text in found
        if not (sees_to(page, language, text) or is_make(text))
    ]


def test_every_block_of_every_page_is_run_read_by_a_test_or_a_picture() -> None:
    assert [one for page in pages() for one in unseen(page, blocks(page))] == []


def test_a_block_that_nobody_sees_to_is_named() -> None:
    for language, text in (
        ("sh", "counterfoil fly --high\n"),
        ("", "./counterfoil fly\n"),
        ("python", "import antigravity\n"),
        ("toml", "[flight]\n"),
        ("json", "{}\n"),
        ("text", "it flies\n"),
    ):
        assert unseen("docs/catalogue.md", [(language, text)]), text
    assert unseen("README.md", [("sh", "counterfoil status\n")]) == []


def test_every_test_that_is_named_is_used_is_there_and_gives_the_words() -> None:
    named = SEEN_BY | READ_BY
    shown = {page: "\n".join(text for _, text in blocks(page)) for page in pages()}
    assert [one for one in named if one[1] not in shown[one[0]]] == []
    for (page, words), test in SEEN_BY.items():
        text = (TOP / test).read_text(encoding="utf-8")
        # One of them reads its commands off a page.
        for read in (one for one in pages() if f'"{one.partition("/")[2]}"' in text):
            text += (TOP / read).read_text(encoding="utf-8")
        for word in words.replace("FOLDER", "").replace("'", "").split():
            assert word in text, f"{test} says nothing of {word} ({page})"


# ------------------------------------------------------------- snippets of a few lines


def policy_with(text: str) -> Any:
    """Check the demo's policy with more in its limits."""
    sources = demo_sources()
    name = "limits.toml"
    return check_sources({**sources, name: f"{sources[name]}\n{text}"}, all_tools())


def test_the_budgets_on_their_page_are_budgets() -> None:
    for words in ('id = "agent-day"', 'unit = "customers"'):
        text = snippet("docs/budgets.md", words)
        [one] = tomllib.loads(text)["budgets"]
        renamed = text.replace(one["id"], "another")
        assert "another" in {budget.rule_id for budget in policy_with(renamed).budgets}


def test_what_the_policy_page_adds_to_tables_is_taken() -> None:
    votes = snippet("docs/policy.md", "approvals_per_hour")
    assert policy_with(votes)
    text = demo_sources()["appetite.toml"]
    head, row, rest = text.partition('clause = "C1"\n')
    first, _, others = rest.partition("\n\n")
    for words in ('remind = "1h"', "customer_confirms"):
        more = snippet("docs/policy.md", words)
        kept = {line.partition(" = ")[0] for line in more.splitlines()}
        lines = [x for x in first.splitlines() if x.partition(" = ")[0] not in kept]
        changed = f"{head}{row}" + "\n".join(lines) + f"\n{more}\n{others}"
        assert check_sources({**demo_sources(), "appetite.toml": changed}, all_tools())


def test_an_accepted_finding_on_the_page_is_accepted() -> None:
    [one] = tomllib.loads(snippet("docs/connectors.md", "[[accepted]]"))["accepted"]
    assert set(one) == {"finding", "because"}
    # It fits no finding of this manifest: then it is stale, and not malformed.
    assert findings({**refund(), "accepted": [one]}) == {STALE}


def test_the_problem_and_the_edges_refusal_on_their_pages_have_the_real_form() -> None:
    problem = json.loads(snippet("docs/errors.md", "approval-stale"))
    jsonschema.validate(problem, problem_schema())
    refusal = json.loads(snippet("docs/manifests.md", "the body differs at"))
    fields = {"code": refusal["code"], "detail": refusal["detail"]}
    assert Refusal(**refusal) == Refusal(fields["code"], fields["detail"])


def test_the_details_on_the_page_narrow_a_token() -> None:
    grant = parse_details(snippet("docs/tokens.md", '"counterfoil", "tools"'))
    assert (grant.tier_max, grant.count_max, grant.currency) == (3, 3, "USD")

"""The worked example of docs/policy.md: table, Cedar, decision and reason hold."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.exits import Exit
from broker.registry.appetite.checks import check_sources
from broker.registry.policy.cedar_text import PolicyError
from tests.support.cases import ROOT, all_tools, demo_sources

PAGE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(m[1], m[2], m[3]) for m in BLOCK.finditer(PAGE)]
NAMED = {name: text for _, name, text in BLOCKS if name}
WIDER = "use_cases/retail-care.toml"
SOURCES = {name: text for name, text in NAMED.items() if name != WIDER}


def block(kind: str, start: str) -> str:
    (found,) = [t for k, _, t in BLOCKS if k == kind and t.startswith(start)]
    return found


@pytest.mark.control("1.3")
def test_the_pages_table_compiles_to_the_pages_cedar_and_passes_its_tests() -> None:
    checked = check_sources(SOURCES, all_tools())
    assert [result.problem for result in checked.results if result.problem] == []
    assert len(checked.results) == SOURCES["tests.toml"].count("[[tests]]")
    assert block("cedar", "// appetite.toml line") in checked.folder.cedar()


@pytest.mark.control("1.3")
def test_the_pages_question_gets_the_pages_answer(tmp_path) -> None:
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    command, _, answer = block(
        "console", "$ counterfoil policy explain FOLDER"
    ).partition("'\n")
    words = " ".join(command.partition("'")[2].split())
    done = CliRunner().invoke(
        make_app("policy"), ["policy", "explain", str(tmp_path), "--given", words]
    )
    assert done.exit_code == Exit.OK, done.output
    assert done.output == answer


def test_the_rule_that_the_page_writes_by_hand_is_accepted() -> None:
    hand = block("cedar", '@id("night")')
    assert "night" in check_sources(SOURCES | {"n.cedar": hand}, all_tools()).book.rules


def test_the_row_that_would_widen_is_refused_in_the_pages_words() -> None:
    with pytest.raises(PolicyError) as refused:
        check_sources(NAMED, all_tools())
    assert str(refused.value) == " ".join(block("text", WIDER).split())


def test_every_field_of_the_demos_tables_is_on_the_page() -> None:
    texts = "\n".join(t for n, t in demo_sources().items() if n.endswith(".toml"))
    rows = re.findall(r"\[\[rows\]\]\n(.*?)(?=\n\n|\Z)", texts, re.DOTALL)
    fields = {f for row in rows for f in re.findall(r"^(\w+) =", row, re.MULTILINE)}
    assert {name for name in fields if f"`{name}`" not in PAGE} == set()

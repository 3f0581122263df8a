"""Listing: names that models accept, hints that follow from effects."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mcp.shared.inbound import find_invalid_x_mcp_header

from broker.api.mcp.listing import OWN_TOOLS, listed, names_of, tool_of
from broker.api.mcp.words import TOOL_NAME_CHARS_MAX
from broker.core.words.effect import Effect
from broker.effects.shelf import CatalogShelf
from tests.support.flow.house import ROOT

TOOLS = CatalogShelf(ROOT / "tools" / "catalog").tools()
MODEL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
PARTS = st.text("ab_", min_size=1, max_size=3).map(lambda text: "a" + text)
NAMES = st.lists(PARTS, min_size=2, max_size=3).map(".".join)


def named(*names: str):
    return [replace(TOOLS[0], name=name) for name in names]


@given(st.lists(NAMES | st.just("get.action"), unique=True, max_size=6))
def test_every_tool_has_one_listed_name_and_is_found_by_both(names: list[str]) -> None:
    tools = named(*names)
    shown = names_of(tools)
    own = {tool["name"] for tool in OWN_TOOLS}
    assert len({*shown.values()} | own) == len(names) + len(own)
    for name in names:
        assert tool_of(name, tools) == name
        assert tool_of(shown[name], tools) == name


def test_tools_that_would_be_listed_alike_keep_their_dots() -> None:
    assert names_of(named("a.b_c", "a_b.c", "d.e")) == {
        "a.b_c": "a.b_c",
        "a_b.c": "a_b.c",
        "d.e": "d_e",
    }
    assert names_of(named("get.action")) == {"get.action": "get.action"}


def test_the_catalogue_is_listed_under_names_that_models_accept() -> None:
    for name, shown in names_of(TOOLS).items():
        assert MODEL_NAME.fullmatch(shown)
        assert len(name) <= TOOL_NAME_CHARS_MAX
    for tool in OWN_TOOLS:
        assert MODEL_NAME.fullmatch(tool["name"])


@pytest.mark.parametrize("effect", Effect)
def test_hints_follow_from_the_effect(effect: Effect) -> None:
    hints = listed(replace(TOOLS[0], effect=effect), name="x")["annotations"]
    assert hints["readOnlyHint"] is (effect in {Effect.READ, Effect.DRAFT})
    assert hints["destructiveHint"] is (
        effect in {Effect.STATE, Effect.MONEY, Effect.IDENTITY, Effect.ENTITLEMENT}
    )
    assert hints["idempotentHint"] is True


def test_every_schema_is_one_of_an_object_and_asks_for_no_headers() -> None:
    shown = [*(listed(tool, name=tool.name) for tool in TOOLS), *OWN_TOOLS]
    assert len(shown) == len(TOOLS) + len(OWN_TOOLS)
    for tool in shown:
        schema = tool["inputSchema"]
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert find_invalid_x_mcp_header(schema) is None
        assert "x-mcp-header" not in str(schema)
    assert [a["name"] == b["name"] for a, b in pairwise(shown)].count(True) == 0

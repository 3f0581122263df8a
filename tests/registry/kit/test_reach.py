"""What an agent can ever name is what some order of its calls shows it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.words.tool import Tool
from broker.registry.kit.lint import STALE, UNSEEN, lint
from broker.registry.kit.reach import kinds_shown
from broker.registry.tools import parse_manifest
from tests.registry.kit.test_lint import TOP, put, read

FIELD = read()["output"]["fields"][0]


def tool(*, needs: str = "", shows: str = "", optional: bool = False) -> Tool:
    """Return a read that has to be given one kind of object, and shows another."""
    objects = [{"pointer": "/ticket_id", "kind": needs}] if needs else []
    made: Any = put(read(), "binding/objects", objects)
    if optional or not needs:
        made["arguments"]["required"] = []
        made["egress"]["requests"][0]["path"] = "/customers/{customer}/tickets"
    if not needs:
        made["arguments"]["properties"] = {}
    if shows:
        field = FIELD | {"pointer": "/id", "class": "identifier", "shows": shows}
        made["output"]["fields"] = [field]
    return parse_manifest(made, name="x")


CHAIN = [tool(needs="b", shows="c"), tool(needs="a", shows="b"), tool(shows="a")]


@pytest.mark.parametrize(
    ("tools", "shown"),
    [
        ([tool(shows="a")], {"a"}),
        (
            [tool(needs="b", shows="c"), tool(needs="a", shows="b"), tool(shows="a")],
            "abc",
        ),
        ([tool(needs="a", shows="a")], set()),
        ([tool(needs="a", shows="b"), tool(needs="b", shows="a")], set()),
        ([tool(needs="a", shows="b", optional=True)], {"b"}),
        ([], set()),
    ],
)
def test_a_kind_is_shown_once_some_order_of_calls_shows_it(tools, shown):
    assert kinds_shown(tools) == set(shown)


def test_what_can_never_be_named_is_found_and_accepted_like_any_other_finding():
    one = tool(needs="parcel")
    (finding,) = lint(one, accepted={}, shown={"order"})
    assert (finding.code, finding.where) == (UNSEEN, "arguments.ticket_id")
    assert "parcel" in finding.says
    assert lint(one, accepted={UNSEEN: "x"}, shown=()) == ()
    assert lint(one, accepted={f"{UNSEEN}:arguments.ticket_id": "x"}, shown=()) == ()
    (stale,) = lint(one, accepted={UNSEEN: "x"}, shown={"parcel"})
    assert stale.code == STALE
    # Whoever looks at one manifest alone cannot know, and says nothing of it.
    assert lint(one, accepted={UNSEEN: "x"}) == ()


def test_the_finding_stands_on_the_page():
    page = (TOP / "docs" / "connectors.md").read_text("utf-8")
    assert f"`{UNSEEN}`" in page

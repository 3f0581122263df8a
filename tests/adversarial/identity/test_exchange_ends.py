"""Catalogue E and I: what ends a parent ends its children, and not the other way."""

from __future__ import annotations

import pytest

from tests.support.door import claims_in
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    ENVIRONMENT,
    OTHER_AGENT_ID,
    key_of,
)
from tests.support.identity.lending import (
    CHILD,
    as_child,
    exchange,
    lends,
    lent,
    more_agents,
    own_token,
)


@pytest.mark.parametrize("what", ["agent", "grant", "instance", "global", "7009"])
async def test_whatever_ends_the_parent_ends_child_and_grandchild(door, what):
    await more_agents(door)
    parent = await own_token(door, "agent")
    child = await lent(door, parent)
    grandchild = await lent(door, child, by="a10")
    claims = claims_in(parent)
    if what == "7009":
        form = door.form(token=parent)
        assert (await door.ask(form, proof=None, path="/oauth/revoke")).is_success
    else:
        scope = {
            "agent": AGENT,
            "grant": f"grant:{claims['gid']}",
            "instance": f"instance:{claims['ins']}",
            "global": f"global:{ENVIRONMENT}",
        }[what]
        await door.registry.revoke([scope], door.journal.entries[0])
    assert (await as_child(door, child)).status_code == 401
    assert (await as_child(door, grandchild, by="a10")).status_code == 401
    answer = await exchange(door, child, by="a10")
    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "suspended"},
        {"status": "revoked"},
        {"delegates": []},
        {"keys": []},
        {"use_case": "sales"},
    ],
)
async def test_a_row_that_changes_above_ends_the_child_at_the_next_call(door, change):
    """Also where no epoch moved: every link is looked at on every call."""
    await more_agents(door)
    child = await lent(door, await own_token(door, "agent"))
    grandchild = await lent(door, child, by="a10")
    assert (await as_child(door, child)).status_code == 200
    assert (await as_child(door, grandchild, by="a10")).status_code == 200
    await door.change("agent", AGENT_ID, **change)
    assert (await as_child(door, child)).status_code == 401
    assert (await as_child(door, grandchild, by="a10")).status_code == 401
    # Nor is what was lent under it lent on, by anybody below.
    for subject, by in ((child, "a10"), (grandchild, "a11")):
        answer = await exchange(door, subject, by=by)
        assert answer.json()["error"] == "invalid_grant"


async def test_a_child_that_revokes_its_token_leaves_its_parents_alone(door):
    await lends(door)
    parent = await own_token(door, "agent")
    child = await lent(door, parent)
    form = door.form(
        client_assertion=door.assertion(CHILD, key=key_of("other")), token=child
    )
    assert (await door.ask(form, proof=None, path="/oauth/revoke")).is_success
    assert (await as_child(door, child)).status_code == 401
    assert (await as_child(door, parent, by="agent")).status_code == 200


async def test_a_child_whose_own_agent_is_revoked_has_nothing_left(door):
    await more_agents(door)
    child = await lent(door, await own_token(door, "agent"))
    await door.change("agent", OTHER_AGENT_ID, status="revoked")
    assert (await as_child(door, child)).status_code == 401
    answer = await exchange(door, child, by="a10")
    assert answer.json()["error"] == "invalid_grant"

"""Refused calls are tied to the agent and key of the token that was shown."""

from __future__ import annotations

from broker.core.identity.refusals import (
    HOLDER_REFUSALS_PER_MINUTE_MAX,
    REFUSALS_BURST_MAX,
)
from broker.core.transparency.entry_leaf import about_of
from broker.core.words.entry import EntryKind
from tests.support.identities import AGENT, AGENT_ID, key_of


async def refused(door, token, *, path="/v1/tools", method="GET"):
    answer = await door.call(method, path, token)
    assert answer.status_code == 401
    return door.logged(EntryKind.REFUSED)[-1]


async def test_a_refusal_of_a_token_that_ended_names_its_agent_key_and_grant(door):
    token = await door.token()
    (issued,) = door.logged(EntryKind.TOKEN)
    door.times.pass_(301)
    for method, path in (("GET", "/v1/tools"), ("POST", "/mcp")):
        entry = await refused(door, token, path=path, method=method)
        assert entry.detail["where"] == path
        assert "claimed" not in entry.detail
        assert entry.detail["token"] == issued.detail["token"]
        for name in ("agent", "instance", "kid", "grant"):
            assert entry.context[name] == issued.context[name]
        assert entry.context["kid"] == key_of("agent").kid
        written = {
            "kind": entry.kind,
            "action": dict(entry.action),
            "context": dict(entry.context),
            "detail": dict(entry.detail),
        }
        assert about_of(written) == AGENT_ID
        assert token not in str(entry)


async def test_a_stolen_token_without_its_key_is_known_and_who_shows_it_is_not(door):
    token = await door.token()
    stolen = {"authorization": f"Bearer {token}"}
    assert (await door.http.get("/v1/tools", headers=stolen)).status_code == 401
    (entry,) = door.logged(EntryKind.REFUSED)
    assert (entry.context["agent"], entry.detail["subject"]) == (AGENT_ID, AGENT)


async def test_what_a_token_says_that_nobody_signed_is_only_claimed(door):
    token = await door.token()
    head, payload, _ = token.split(".")
    entry = await refused(door, f"{head}.{payload}.{'A' * 86}")
    assert entry.context == {}
    assert entry.detail["claimed"] == AGENT
    assert entry.detail["kid"] == key_of("agent").kid
    assert "subject" not in entry.detail


async def test_one_agents_refusals_are_bounded_by_the_minute_and_counted(door):
    token = await door.token()
    door.times.pass_(301)
    extra = 5
    for _ in range(HOLDER_REFUSALS_PER_MINUTE_MAX + extra):
        await refused(door, token)
    assert len(door.logged(EntryKind.REFUSED)) == HOLDER_REFUSALS_PER_MINUTE_MAX
    door.times.pass_(60 / HOLDER_REFUSALS_PER_MINUTE_MAX)
    assert (await refused(door, token)).detail["held_back"] == extra


async def test_strangers_do_not_crowd_out_what_is_known(door):
    token = await door.token()
    door.times.pass_(301)
    for _ in range(REFUSALS_BURST_MAX + 1):
        await door.http.get("/v1/tools", headers={"authorization": "Bearer x.y.z"})
    entry = await refused(door, token)
    assert entry.context["agent"] == AGENT_ID

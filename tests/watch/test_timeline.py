"""A timeline says what held, from when to when, and by which entry that is proved."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.moment import write_moment
from broker.registry.authority import AuthorityRow
from broker.watch.timeline import Acted, Logged, timeline
from tests.support.identities import AGENT_ID, NOW, key_of
from tests.support.identity.rows import AGENT_BODY, row_of

KID = key_of("agent").kid


def row(revision: int, minutes: float, **changes) -> AuthorityRow:
    at = NOW + timedelta(minutes=minutes)
    body = AGENT_BODY | changes
    return row_of(body, revision=revision, at=at, by=("person:1", "person:2"))


def changed(seq: int, minutes: float, *, after: int, what: str) -> Logged:
    detail = {
        "kind": "agent", "id": AGENT_ID, "after_revision": after,
        "what": what, "by": "person:2", "reason": "why", "scopes": [],
    }  # fmt: skip
    return Logged(seq, entry("authorize.authority", minutes, detail))


def entry(kind: str, minutes: float, detail, context=None):
    at = write_moment(NOW + timedelta(minutes=minutes))
    return {"kind": kind, "at": at, "detail": detail, "context": context or {}}


def token(seq: int, minutes: float, grant: str) -> Logged:
    context = {"agent": AGENT_ID, "kid": KID, "grant": grant}
    detail = {"token": f"t{seq}", "expires_at": "then"}
    return Logged(seq, entry("authenticate.token", minutes, detail, context))


def action(minutes: float, grant: str) -> Acted:
    at = NOW + timedelta(minutes=minutes)
    return Acted(f"a{minutes}", "orders.get", "done", grant, at, 77)


ROWS = [
    row(1, 0),
    row(3, 60, status="suspended"),
    row(4, 90),
    row(5, 120, status="revoked"),
]


def test_authority_begins_with_the_first_row_and_ends_with_the_last_that_ends_it():
    found = timeline(ROWS, [], [])
    assert found["from"] == write_moment(NOW)
    assert found["until"] == write_moment(NOW + timedelta(minutes=120))
    assert timeline(ROWS[:3], [], [])["until"] is None
    suspended = timeline(ROWS[:2], [], [])
    assert suspended["until"] == write_moment(NOW + timedelta(minutes=60))


def test_each_period_names_the_entry_that_proves_it_and_who_signed():
    entries = [
        changed(5, 0, after=0, what="agent.register"),
        changed(8, 60, after=1, what="agent.suspend"),
        changed(11, 90, after=3, what="agent.resume"),
    ]
    periods = timeline(ROWS, entries, [])["periods"]
    assert [(one["seq"], one["what"]) for one in periods] == [
        (5, "agent.register"),
        (8, "agent.suspend"),
        (11, "agent.resume"),
        (None, None),
    ]
    assert periods[0]["by"] == ["person:1", "person:2"]
    assert periods[0]["kids"] == [KID]
    assert [one["until"] for one in periods[:3]] == [one["from"] for one in periods[1:]]
    assert periods[3]["until"] is None


def test_an_action_is_tied_to_the_key_whose_token_it_was_done_under():
    entries = [token(6, 1, "g1"), token(9, 100, "g2")]
    acts = [action(2, "g1"), action(101, "g2"), action(102, "unknown")]
    found = timeline(ROWS, entries, acts)
    assert [one["kid"] for one in found["actions"]] == [KID, KID, None]
    assert [one["tokens"] for one in found["periods"]] == [1, 0, 1, 0]
    assert [one["actions"] for one in found["periods"]] == [1, 0, 2, 0]
    assert found["actions"][0]["seq"] == 77


def test_refusals_revocations_alarms_and_the_kill_switch_are_events():
    refused = {"claimed": f"agent:{AGENT_ID}", "reasons": [{"code": "invalid_client"}]}
    revoked = {"subject": f"agent:{AGENT_ID}", "scopes": ["grant:g1"], "by": "x"}
    known = {"agent": AGENT_ID, "kid": KID}
    entries = [
        Logged(1, entry("authenticate.refused", 1, refused)),
        Logged(5, entry("authenticate.refused", 1.5, {"held_back": 4}, known)),
        Logged(2, entry("authenticate.revocation", 2, revoked)),
        Logged(3, entry("record.alarm", 3, {"alarm": "identity_unused"})),
        Logged(4, entry("authenticate.turn", 4, {})),
    ]
    stop = AuthorityRow(
        "kill_switch", "main", 1, NOW + timedelta(minutes=5), ("person:3",),
        "demo", "dev", {"on": True},
    )  # fmt: skip
    events = timeline(ROWS, entries, [], switch=[stop])["events"]
    assert [one["what"] for one in events] == [
        "refused",
        "refused",
        "revoked",
        "identity_unused",
        "kill_switch.on",
    ]
    assert events[0]["codes"] == ["invalid_client"]
    assert (events[0]["claimed"], events[1]["claimed"]) == (True, False)
    assert (events[1]["kid"], events[1]["held_back"]) == (KID, 4)


@given(st.lists(st.sampled_from(["active", "suspended"]), min_size=1, max_size=8))
def test_an_agent_may_act_until_the_first_row_of_the_last_stretch_without(statuses):
    rows = [row(n + 1, n, status=one) for n, one in enumerate(statuses)]
    until = timeline(rows, [], [])["until"]
    if statuses[-1] == "active":
        assert until is None
    else:
        last = max((n for n, one in enumerate(statuses) if one == "active"), default=-1)
        assert until == write_moment(NOW + timedelta(minutes=last + 1))

"""The timeline over HTTP and from the command line: rows, entries and actions agree."""

from __future__ import annotations

from broker.api.admin.timeline import SEQ_MAX
from broker.cli.registry.timeline import written
from broker.core.words.moment import write_moment
from broker.watch.timeline import Acted
from tests.support.identities import AGENT_ID, NOW, key_of

ONE = f"/v1/admin/agents/{AGENT_ID}"


async def seen(door, who="dave", query=""):
    return await door.call("GET", f"{ONE}/timeline?{query}", await door.token(who))


async def test_security_sees_when_authority_began_and_ended_and_what_was_done(door):
    door.times.pass_(60)
    token = await door.token()
    grant = next(
        one.context["grant"]
        for one in door.journal.entries
        if one.context.get("agent") == AGENT_ID
    )
    door.desk.past.done.append(
        Acted("act-1", "orders.get", "done", grant, door.times.now(), 4)
    )
    door.times.pass_(60)
    await door.widened(f"{ONE}/grant", {"tools": ["orders.cancel"]})
    door.times.pass_(60)
    carol = await door.token("carol")
    revoked = await door.call(
        "POST", f"{ONE}/revoke", carol, json={"reason": "odd refunds"}
    )
    assert revoked.status_code == 200
    ended = door.times.now()
    door.times.pass_(1)
    await door.ask()  # a revoked agent asks again, and is refused
    found = (await seen(door)).json()
    assert found["from"] == write_moment(NOW)
    assert found["until"] == write_moment(ended)
    assert [one["what"] for one in found["periods"]] == [
        None,
        "agent.grant",
        "agent.revoke",
    ]
    assert found["periods"][2]["reason"] == "odd refunds"
    assert found["periods"][1]["seq"] is not None
    assert len(found["periods"][1]["by"]) == 2
    (done,) = found["actions"]
    assert (done["kid"], done["grant"]) == (key_of("agent").kid, grant)
    what = [one["what"] for one in found["events"]]
    assert what == [
        "token",
        "change.ask",
        "agent.grant",
        "change.approve",
        "agent.revoke",
        "refused",
    ]
    assert token not in str(found)


async def test_what_is_left_out_is_said_and_how_to_get_it(door):
    past = door.desk.past
    past.entries_max = past.actions_max = 2
    for number in range(3):
        door.times.pass_(1)
        await door.token()
        past.done.append(
            Acted(f"act-{number}", "orders.get", "done", "g", door.times.now(), number)
        )
    found = (await seen(door)).json()
    assert len(found["actions"]) == 2
    more = found["more"]
    assert more["actions_until"] == write_moment(past.done[0].at)
    assert more["entries_from"] is not None
    lines = "\n".join(written(found, part=False))
    assert f"--entries-from {more['entries_from']}" in lines
    assert f"--actions-until {more['actions_until']}" in lines
    assert "not in the log yet" not in lines
    older = {**found, "more": more | {"revisions": True}}
    assert "earlier revisions" in "\n".join(written(older, part=False))
    query = "&".join(f"{name}={more[name]}" for name in more if name != "revisions")
    rest = (await seen(door, query=query)).json()
    assert [one["action"] for one in rest["actions"]] == ["act-0"]
    assert rest["more"] == {
        "entries_from": None,
        "actions_until": None,
        "revisions": False,
    }
    tokens = [one["token"] for one in (*found["events"], *rest["events"])]
    assert len({*tokens}) == 3
    assert "NOT ALL" not in "\n".join(written(rest, part=True))


async def test_a_moment_or_position_that_is_none_is_refused(door):
    for query in (
        "actions_until=soon",
        "entries_from=-1",
        f"entries_from={SEQ_MAX + 1}",
    ):
        assert (await seen(door, query=query)).status_code == 422


async def test_only_who_may_look_into_the_registry_sees_it(door):
    assert (await seen(door, "alice")).status_code == 403
    assert (await seen(door, "olivia")).status_code == 200
    missing = f"{ONE[:-4]}ffff/timeline"
    answer = await door.call("GET", missing, await door.token("dave"))
    assert answer.status_code == 404

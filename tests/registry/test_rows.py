"""Bodies of every kind read back as they are written, and a wrong field is named."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identity.assertions import KEY_SLOTS_MAX
from broker.core.jwk import private_to_jwk, public_to_jwk
from broker.core.words.identity import RegisteredKey
from broker.registry.agents import AGENT_TOOLS_MAX, agent_body, parse_agent
from broker.registry.channels import (
    USE_CASES_MAX,
    channel_body,
    parse_channel,
    parse_service,
    service_body,
)
from broker.registry.clients import parse_client
from broker.registry.people import CURRENCIES_MAX, parse_person, person_body
from broker.registry.reading import (
    ITEMS_MAX,
    NAME_CHARS_MAX,
    TEXT_CHARS_MAX,
    RowError,
    items,
    natural_id,
    read_keys,
    text,
    write_keys,
)
from broker.registry.use_cases import (
    RETENTION_DAYS_MAX,
    parse_use_case,
    use_case_body,
)
from tests.support.identities import NOW, key_of
from tests.support.identity import rows
from tests.support.identity.rows import AGENT_BODY, row_of


@given(rows.agents)
def test_an_agent_reads_back(body):
    assert agent_body(parse_agent(row_of(body))) == body


@given(rows.people)
def test_a_person_reads_back(body):
    assert person_body(parse_person(row_of(body))) == body


@given(rows.channels)
def test_a_channel_reads_back(body):
    assert channel_body(parse_channel(row_of(body))) == body


@given(rows.services)
def test_a_service_reads_back(body):
    assert service_body(parse_service(row_of(body))) == body


@given(rows.use_cases)
def test_a_use_case_reads_back(body):
    assert use_case_body(parse_use_case(row_of(body))) == body


EVERY_KIND = [
    (rows.agents, parse_agent),
    (rows.people, parse_person),
    (rows.channels, parse_channel),
    (rows.services, parse_service),
    (rows.use_cases, parse_use_case),
]
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, -1),
    st.just("\n"),
    st.just([[]]),
    st.just({"a": {}}),
    st.floats(allow_nan=False),
)


@pytest.mark.parametrize(("bodies", "parse"), EVERY_KIND)
@given(data=st.data())
def test_a_field_that_is_missing_unknown_or_junk_makes_no_row(bodies, parse, data):
    body = data.draw(bodies)
    name = data.draw(st.sampled_from(sorted(body.keys() - {"console_votes"})))
    change = data.draw(st.sampled_from(["drop", "add", "junk"]))
    match change:
        case "drop":
            del body[name]
        case "add":
            body["more"] = 1
        case _:
            body[name] = data.draw(junk)
    with pytest.raises(RowError):
        parse(row_of(body))


@given(rows.people)
def test_the_console_votes_for_nobody_whose_row_does_not_say_so(body):
    del body["console_votes"]
    assert not parse_person(row_of(body)).console_votes
    for wrong in (1, "true", None):
        with pytest.raises(RowError):
            parse_person(row_of(body | {"console_votes": wrong}))


@given(rows.agents)
def test_only_an_active_client_has_keys_and_tools(body):
    client = parse_client(row_of(body))
    active = body["status"] == "active"
    assert client.kids == ({key["kid"] for key in body["keys"]} if active else set())
    assert client.tools == (set(body["tools"]) if active else set())


@given(rows.people, rows.services)
def test_people_and_services_are_clients_too_and_have_no_tools(person, service):
    for body, kind in ((person, "person"), (service, "service")):
        client = parse_client(row_of(body, kind=kind))
        assert str(client.client).startswith(f"{kind}:")
        assert bool(client.keys) is (body["status"] == "active" and bool(body["keys"]))
        assert client.tools == frozenset()


def test_a_channel_is_no_client():
    with pytest.raises(RowError, match="clients"):
        parse_client(row_of(AGENT_BODY, kind="channel"))


@given(rows.channels)
def test_a_channel_that_is_not_active_has_no_keys_to_speak_with(body):
    channel = parse_channel(row_of(body))
    assert bool(channel.facts().keys) is (channel.active and bool(body["keys"]))


SLOT = write_keys([RegisteredKey(key_of("one").public())])[0]


@pytest.mark.parametrize(
    "keys",
    [
        [SLOT, SLOT],
        [SLOT | {"kid": key_of("two").kid}],
        [{"kid": SLOT["kid"]}],
        [{"jwk": SLOT["jwk"]}],
        [SLOT | {"more": 1}],
        [SLOT | {"not_after": "tomorrow"}],
        [{"kid": SLOT["kid"], "jwk": private_to_jwk(key_of("one"))}],
        [{"kid": "k", "jwk": {"kty": "oct", "k": "AA"}}],
        ["key"],
        {},
        None,
    ],
)
def test_a_key_that_is_private_misnamed_or_twice_is_refused(keys):
    with pytest.raises(RowError):
        read_keys({"keys": keys})


def test_as_many_keys_as_slots_are_read_and_one_more_is_not():
    keys = write_keys(
        [RegisteredKey(key_of(f"k{n}").public()) for n in range(KEY_SLOTS_MAX + 1)]
    )
    assert len(read_keys({"keys": keys[:-1]})) == KEY_SLOTS_MAX
    with pytest.raises(RowError):
        read_keys({"keys": keys})


def test_a_slots_validity_reads_back():
    slot = RegisteredKey(key_of("one").public(), NOW, NOW + timedelta(days=1))
    (read,) = read_keys({"keys": write_keys([slot])})
    assert (read.not_before, read.not_after) == (slot.not_before, slot.not_after)
    assert public_to_jwk(read.key) == public_to_jwk(slot.key)


def test_texts_and_lists_at_their_limits_are_read_and_longer_ones_are_not():
    assert text({"a": "x" * TEXT_CHARS_MAX}, "a")
    with pytest.raises(RowError):
        text({"a": "x" * (TEXT_CHARS_MAX + 1)}, "a")
    many = [f"t{number}" for number in range(ITEMS_MAX + 1)]
    assert len(items({"a": many[:-1]}, "a")) == ITEMS_MAX
    with pytest.raises(RowError):
        items({"a": many}, "a")
    assert items({"a": ["x" * NAME_CHARS_MAX]}, "a")
    with pytest.raises(RowError):
        items({"a": ["x" * (NAME_CHARS_MAX + 1)]}, "a")


@pytest.mark.parametrize("word", ["", "A", "a b", "-a", "a" * 65, "\u00e4", None, 5])
def test_an_id_is_a_short_plain_word(word):
    with pytest.raises(RowError):
        natural_id({"id": word}, "id")
    assert natural_id({"id": "a" * 64}, "id") == "a" * 64


@pytest.mark.parametrize("found", [[""], ["a", "a"], ["a\nb"], [5], "a", None])
def test_a_list_holds_different_plain_words(found):
    with pytest.raises(RowError):
        items({"a": found}, "a")


def test_a_role_that_nobody_has_makes_no_person():
    body = {
        "name": "n",
        "roles": ["king"],
        "keys": [],
        "status": "active",
        "approval_limits": {},
    }
    with pytest.raises(RowError, match="roles"):
        parse_person(row_of(body))


def test_each_kinds_own_limits_hold_at_the_limit_exactly():
    many = [f"t.x{number}" for number in range(AGENT_TOOLS_MAX + 1)]
    parse_agent(row_of(AGENT_BODY | {"tools": many[:-1]}))
    parse_agent(row_of(AGENT_BODY | {"name": "n" * NAME_CHARS_MAX}))
    person: dict[str, Any] = {
        "name": "n",
        "roles": [],
        "keys": [],
        "status": "active",
        "approval_limits": {f"A{chr(65 + n)}A": 1 for n in range(CURRENCIES_MAX)},
    }
    parse_person(row_of(person))
    channel: dict[str, Any] = {
        "name": "n",
        "keys": [],
        "use_cases": [f"u{number}" for number in range(USE_CASES_MAX)],
        "verification_max": 3,
        "status": "active",
    }
    parse_channel(row_of(channel))
    use_case: dict[str, Any] = {
        "name": "n",
        "owner": AGENT_BODY["owner"],
        "purpose": "p",
        "tools": [],
        "retention_days": RETENTION_DAYS_MAX,
        "release": {"id": "", "grade": "absent"},
    }
    parse_use_case(row_of(use_case))
    person["approval_limits"]["ZZZ"] = 1
    channel["use_cases"].append("more")
    use_case["retention_days"] += 1
    for parse, body in (
        (parse_agent, AGENT_BODY | {"tools": many}),
        (parse_agent, AGENT_BODY | {"name": "n" * (NAME_CHARS_MAX + 1)}),
        (parse_person, person),
        (parse_channel, channel),
        (parse_use_case, use_case),
    ):
        with pytest.raises(RowError):
            parse(row_of(body))

"""Who writes to the database, and who claims what they may not: without effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.core.authenticate import (
    verify_interaction_assertion,
    verify_turn,
)
from broker.core.jwk import Algorithm
from broker.core.words.errors import BrokerError, ForbiddenError, UnauthenticatedError
from broker.registry.authority import AuthorityRow
from tests.support.channels import CHANNEL, opening, turn
from tests.support.door import slots
from tests.support.fake_registry import signed_row
from tests.support.identities import (
    AGENT_ID,
    AGENT_KEY,
    CHANNEL_ID,
    ENVIRONMENT,
    INTERACTION_ID,
    ISSUER,
    NOW,
    TENANT,
    key_of,
)

INTRUDER_ID = "0197a000-0000-7000-8000-00000000ffff"
INTRUDER = f"agent:{INTRUDER_ID}"
BODY = {
    "name": "intruder",
    "owner": "0197a000-0000-7000-8000-0000000000b4",
    "use_case": "retail-care",
    "tier_max": 3,
    "tools": ["orders.refund"],
    "keys": slots("intruder"),
    "status": "active",
}
ROW = AuthorityRow(
    "agent", INTRUDER_ID, 1, NOW, ("bootstrap",), TENANT, ENVIRONMENT, BODY
)


async def no_token(door, client=INTRUDER, key="intruder") -> None:
    form = door.form(client_assertion=door.assertion(client, key=key_of(key)))
    answer = await door.ask(form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


async def test_an_agent_inserted_into_the_database_by_hand_gets_no_token(door):
    for signer in ("intruder", "agent", "token"):
        for algorithm in Algorithm:
            signed = signed_row(ROW, key=key_of(signer, algorithm))
            await door.registry.insert("agent", INTRUDER_ID, 1, signed)
            await no_token(door)


async def test_the_same_row_signed_by_the_broker_would_have_got_one(door):
    await door.registry.insert("agent", INTRUDER_ID, 1, signed_row(ROW))
    form = door.form(client_assertion=door.assertion(INTRUDER, key=key_of("intruder")))
    assert (await door.ask(form)).status_code == 200


async def test_a_key_added_to_a_genuine_row_by_hand_opens_nothing(door):
    row = await door.registry.get("agent", AGENT_ID)
    edited = dict(row.body) | {"keys": slots("agent", "intruder")}
    forged = replace(row, revision=2, body=edited)
    for signed in (
        signed_row(forged, key=key_of("intruder", Algorithm.EDDSA)),
        swapped(signed_row(row), signed_row(forged)),
    ):
        await door.registry.insert("agent", AGENT_ID, 2, signed)
        await no_token(door, f"agent:{AGENT_ID}")
        assert (await door.ask()).status_code == 200


def swapped(genuine: str, forged: str) -> str:
    """Return the payload of one row with the signature of another."""
    header, _, signature = genuine.split(".")
    return f"{header}.{forged.split('.')[1]}.{signature}"


async def test_a_genuine_row_copied_to_another_place_opens_nothing(door):
    row = await door.registry.get("agent", AGENT_ID)
    await door.registry.insert("agent", INTRUDER_ID, 1, signed_row(row))
    await no_token(door, INTRUDER, "agent")
    await door.registry.insert("person", AGENT_ID, 1, signed_row(row))
    await no_token(door, f"person:{AGENT_ID}", "agent")


async def test_a_row_of_another_environment_or_tenant_opens_nothing(door):
    for row in (replace(ROW, environment="prod"), replace(ROW, tenant="other")):
        signed = signed_row(row)
        await door.registry.insert("agent", INTRUDER_ID, 1, signed)
        await no_token(door)


async def test_an_old_revision_put_back_on_top_does_not_undo_a_revocation(door):
    active = await door.registry.get("agent", AGENT_ID)
    await door.change("agent", AGENT_ID, status="revoked")
    # The old row was signed as revision 1, and is revision 1 wherever it stands.
    await door.registry.insert("agent", AGENT_ID, 3, signed_row(active))
    await no_token(door, f"agent:{AGENT_ID}", "agent")


def opened(text: str, **changes):
    facts = replace(CHANNEL, **changes)
    return verify_interaction_assertion(text, channel=facts, issuer=ISSUER, now=NOW)


def said(text: str, interaction: str = INTERACTION_ID, **changes):
    facts = replace(CHANNEL, **changes)
    return verify_turn(
        text, interaction_id=interaction, channel=facts, issuer=ISSUER, now=NOW
    )


def test_an_agent_cannot_open_an_interaction_itself():
    for text in (
        opening(key=AGENT_KEY),
        opening(key=AGENT_KEY, iss=AGENT_ID),
        opening(key=key_of("token")),
    ):
        with pytest.raises(UnauthenticatedError):
            opened(text)


def test_an_agent_cannot_put_words_into_the_customers_mouth():
    with pytest.raises(UnauthenticatedError):
        said(turn(key=AGENT_KEY))


def test_a_forged_or_foreign_channel_assertion_is_refused():
    for text in (
        opening(key=key_of("intruder")),
        opening(typ="counterfoil-turn+jwt"),
        opening(typ="jwt"),
        opening(iss=AGENT_ID),
        opening(iss=CHANNEL_ID.replace("c1", "c2")),
        opening(aud="https://other.example"),
        opening(aud=[ISSUER]),
        opening(exp=int(NOW.timestamp())),
        opening(exp=int(NOW.timestamp()) + 301),
        opening(exp=...),
        opening(jti=...),
        opening(iat=int(NOW.timestamp()) + 11),
        "",
        "a.b.c",
    ):
        with pytest.raises(BrokerError) as caught:
            opened(text)
        assert caught.value.status in {401, 422}


def test_a_channel_cannot_claim_a_level_or_a_use_case_that_it_may_not():
    for claims in ({"verification_level": 3}, {"use_case": "payments"}):
        with pytest.raises(ForbiddenError):
            opened(opening(**claims))


def test_a_channel_without_keys_says_nothing():
    with pytest.raises(UnauthenticatedError):
        opened(opening(), keys=())
    with pytest.raises(UnauthenticatedError):
        said(turn(), keys=())


def test_a_turn_of_one_interaction_cannot_be_told_in_another():
    with pytest.raises(ForbiddenError):
        said(turn(), INTERACTION_ID.replace("e1", "e2"))


def test_an_opening_is_no_turn_and_a_turn_no_opening():
    with pytest.raises(UnauthenticatedError):
        said(opening())
    with pytest.raises(UnauthenticatedError):
        opened(turn())

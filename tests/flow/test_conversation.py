"""Conversations: only the channel says who the customer is, once, and within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker import conversation
from broker.core.jwk import public_to_jwk
from broker.core.words.errors import (
    ForbiddenError,
    InvalidError,
    LedgerUnavailableError,
    NotFoundError,
    UnauthenticatedError,
)
from broker.core.words.identity import INTERACTION_TYP, TURN_TYP
from broker.core.words.moment import write_moment
from broker.core.words.subject import VerificationLevel
from tests.support.channels import opening, turn
from tests.support.flow.executor import CUSTOMER
from tests.support.flow.house import AGENT_ID, ISSUER, USE_CASE, House, put_row
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.core.words.subject import Interaction

OTHER_CHANNEL = "0197a000-0000-7000-8000-0000000000c2"
NOBODY = "0197a000-0000-7000-8000-0000000000c9"


@pytest_asyncio.fixture(autouse=True)
async def other_channel(house: House) -> None:
    """Register a second channel, with a key of its own."""
    key = key_of("other-channel")
    body = {
        "name": "phone",
        "keys": [{"kid": key.kid, "jwk": public_to_jwk(key.public())}],
        "use_cases": [USE_CASE],
        "verification_max": 2,
        "status": "active",
    }
    await put_row(house, "channel", OTHER_CHANNEL, body)


def times(house: House) -> dict[str, Any]:
    now = house.ports.clock.now()
    stamp = int(now.timestamp())
    return {"iat": stamp, "exp": stamp + 60, "jti": house.ports.ids.new()}


def opened(house: House, **claims: Any) -> str:
    now = write_moment(house.ports.clock.now())
    base = {"ai_disclosed_at": now, "customer": CUSTOMER}
    return opening(**times(house) | base | claims)


def said(house: House, interaction: Interaction, **claims: Any) -> str:
    base = {
        "at": write_moment(house.ports.clock.now()),
        "interaction": interaction.interaction_id,
    }
    return turn(**times(house) | base | claims)


async def open_with(house: House, token: str) -> Interaction:
    return await conversation.open_interaction(house.ports, token, issuer=ISSUER)


async def add(house: House, interaction: Interaction, token: str) -> str:
    return await conversation.add_turn(
        house.ports, interaction.interaction_id, token, issuer=ISSUER
    )


async def count(house: House, table: str) -> int:
    async with house.admin() as owner:
        return int(await owner.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def test_what_a_channel_asserts_is_the_interaction(house: House) -> None:
    made = await open_with(
        house, opened(house, topics=["returns"], customer_flags=["vulnerable"])
    )
    assert (made.customer_id, made.agent_id) == (CUSTOMER, AGENT_ID)
    assert made.verification is VerificationLevel.MATCHED
    assert made.topics == ("returns",)
    assert made.customer_flags == ("vulnerable",)
    assert await house.ports.store.interaction(made.interaction_id) == made


async def test_a_customer_has_one_opaque_reference_within_a_use_case(
    house: House,
) -> None:
    first, second = [await open_with(house, opened(house)) for _ in range(2)]
    other = await open_with(house, opened(house, customer="somebody_else"))
    assert first.customer_ref == second.customer_ref != other.customer_ref
    assert CUSTOMER not in first.customer_ref
    elsewhere = conversation.customer_ref(house.ports, "demo", "sales", CUSTOMER)
    assert elsewhere != first.customer_ref


@pytest.mark.parametrize(
    "claims",
    [
        {"key": key_of("forger")},
        {"key": key_of("agent")},
        {"key": key_of("other-channel")},
        {"iss": OTHER_CHANNEL},
        {"iss": NOBODY},
        {"iss": AGENT_ID},
        {"typ": TURN_TYP},
        {"aud": "http://elsewhere.test"},
        {"exp": 1},
    ],
    ids=str,
)
async def test_a_forged_opening_opens_nothing(
    house: House, claims: dict[str, Any]
) -> None:
    with pytest.raises(UnauthenticatedError):
        await open_with(house, opened(house, **claims))
    assert await count(house, "interaction") == 0


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "é"])
async def test_what_is_no_assertion_at_all_opens_nothing(
    house: House, token: str
) -> None:
    with pytest.raises(UnauthenticatedError):
        await open_with(house, token)


async def test_an_opening_opens_one_interaction_and_never_a_second(
    house: House,
) -> None:
    token = opened(house)
    await open_with(house, token)
    with pytest.raises(UnauthenticatedError, match="used before"):
        await open_with(house, token)
    assert await count(house, "interaction") == 1


@pytest.mark.parametrize(
    ("claims", "pointer"),
    [
        ({"verification_level": 3}, "/verification_level"),
        ({"use_case": "sales"}, "/use_case"),
        ({"agent": NOBODY}, "/agent"),
    ],
)
async def test_a_channel_says_nothing_beyond_what_its_row_lets_it_say(
    house: House, claims: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(ForbiddenError) as caught:
        await open_with(house, opened(house, **claims))
    assert caught.value.pointer == pointer
    assert await count(house, "interaction") == 0


async def test_a_level_that_does_not_exist_is_invalid(house: House) -> None:
    with pytest.raises(InvalidError):
        await open_with(house, opened(house, verification_level=4))


async def test_a_turn_is_kept_sealed_and_under_the_interactions_level(
    house: House,
) -> None:
    made = await open_with(house, opened(house))
    turn_id = await add(house, made, said(house, made, text="My order is W7678072."))
    async with house.admin() as owner:
        row = await owner.fetchrow(
            "SELECT t.*, p.sealed FROM turn t JOIN payload p USING (payload_id)"
        )
    assert row is not None
    assert str(row["turn_id"]) == turn_id
    assert row["verification"] == VerificationLevel.MATCHED
    assert b"W7678072" not in row["sealed"]


async def test_another_channels_turn_finds_no_such_interaction(house: House) -> None:
    made = await open_with(house, opened(house))
    own = said(house, made, iss=OTHER_CHANNEL, key=key_of("other-channel"))
    with pytest.raises(NotFoundError):
        await add(house, made, own)
    assert await count(house, "turn") == 0


async def test_a_turn_of_one_interaction_is_none_of_another(house: House) -> None:
    here, there = [await open_with(house, opened(house)) for _ in range(2)]
    with pytest.raises(ForbiddenError, match="another interaction"):
        await add(house, there, said(house, here))
    assert await count(house, "turn") == 0


@pytest.mark.parametrize(
    "claims",
    [
        {"key": key_of("agent")},
        {"key": key_of("other-channel")},
        {"typ": INTERACTION_TYP},
        {"iss": NOBODY},
    ],
    ids=str,
)
async def test_a_forged_turn_is_not_kept(house: House, claims: dict[str, Any]) -> None:
    made = await open_with(house, opened(house))
    with pytest.raises(UnauthenticatedError):
        await add(house, made, said(house, made, **claims))
    assert await count(house, "turn") == 0


async def test_a_turn_is_said_once(house: House) -> None:
    made = await open_with(house, opened(house))
    token = said(house, made)
    await add(house, made, token)
    with pytest.raises(UnauthenticatedError, match="used before"):
        await add(house, made, token)
    assert await count(house, "turn") == 1


async def test_nothing_is_opened_or_said_while_the_log_takes_no_entry(
    house: House,
) -> None:
    made = await open_with(house, opened(house))
    house.keeper.error = LedgerUnavailableError("no signer")
    with pytest.raises(LedgerUnavailableError):
        await open_with(house, opened(house))
    with pytest.raises(LedgerUnavailableError):
        await add(house, made, said(house, made))
    assert (await count(house, "interaction"), await count(house, "turn")) == (1, 0)

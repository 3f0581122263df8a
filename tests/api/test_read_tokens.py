"""Remembering a signature saves work and decides nothing."""

from __future__ import annotations

import pytest

from broker.api.identity.read_tokens import TOKENS_KEPT_MAX, ReadTokens
from broker.core.words.errors import UnauthenticatedError
from tests.support.identities import (
    TOKEN_KEY,
    access_token,
    key_of,
    signed_token,
)

KEYS = {TOKEN_KEY.kid: TOKEN_KEY.public()}


def test_a_token_reads_alike_the_first_time_and_again():
    tokens = ReadTokens()
    text = signed_token()
    first = tokens.read(text, KEYS)
    assert first.token.token_id == access_token().token_id
    assert tokens.read(text, KEYS) is first


def test_a_token_whose_key_was_taken_out_of_use_is_refused_though_remembered():
    tokens = ReadTokens()
    text = signed_token()
    tokens.read(text, KEYS)
    other = key_of("next token")
    with pytest.raises(UnauthenticatedError):
        tokens.read(text, {other.kid: other.public()})


def test_a_token_that_was_refused_is_not_remembered():
    tokens = ReadTokens()
    forged = signed_token(key=key_of("thief"))
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            tokens.read(forged, KEYS)
    changed = signed_token()[:-4] + "AAAA"
    tokens.read(signed_token(), KEYS)
    with pytest.raises(UnauthenticatedError):
        tokens.read(changed, KEYS)


def test_no_more_than_the_limit_are_kept_and_none_by_its_text():
    tokens = ReadTokens()
    text = signed_token()
    found = tokens.read(text, KEYS)
    for number in range(TOKENS_KEPT_MAX):
        tokens._kept[bytes([number % 256, number // 256])] = found  # noqa: SLF001
    other = signed_token(jti="another")
    tokens.read(other, KEYS)
    assert len(tokens._kept) <= TOKENS_KEPT_MAX  # noqa: SLF001
    assert text not in repr(tokens._kept)  # noqa: SLF001


async def test_a_remembered_token_still_ends(door):
    token = await door.token()
    assert (await door.call("GET", "/v1/tools", token)).status_code == 200
    door.times.pass_(300)
    answer = await door.call("GET", "/v1/tools", token)
    assert (answer.status_code, answer.json()["detail"]) == (
        401,
        "the access token has expired",
    )

"""Catalogue J: no token, assertion or proof in logs, errors or the audit log."""

from __future__ import annotations

import logging

import pytest

from broker.core.words.errors import BrokerError, NonceNeededError
from tests.support.door import claims_in
from tests.support.identities import ISSUER, key_of

URL = f"{ISSUER}/v1/tools"


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Catch every line of every logger, down to the last level."""
    caplog.set_level(logging.DEBUG)
    for name in ("authlib", "joserfc", "httpx", "httpcore", "broker", "uvicorn"):
        # caplog puts each back afterwards: the edge keeps its own quiet.
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def secrets_of(*texts: str) -> list[str]:
    """Return what of a token must be seen nowhere: itself, and its signature."""
    return [part for text in texts for part in (text, text.rpartition(".")[2])]


async def test_what_was_sent_is_in_no_log_no_answer_and_no_entry(door, everything):
    form, proof = door.form(), door.proof()
    token = (await door.ask(form, proof=proof)).json()["access_token"]
    call = door.proof("GET", URL, token=token)
    answers = [await door.call("GET", "/v1/tools", token, proof=call)]
    # The same again, and each of them in the place of another.
    answers += [
        await door.ask(form, proof=door.proof()),
        await door.ask(door.form(), proof=proof),
        await door.call("GET", "/v1/tools", token, proof=call),
        await door.call("GET", "/v1/tools", form["client_assertion"], proof=call),
        await door.ask(door.form(client_assertion=token)),
        await door.ask(door.form(scope=token[:1000])),
        await door.ask(door.form(resource=token)),
        await door.ask({"grant_type": token}),
    ]
    secrets = secrets_of(form["client_assertion"], proof, token, call)
    seen = [answer.text + str(answer.headers) for answer in answers]
    seen.append(everything.text)
    seen.extend(repr(entry) for entry in door.journal.entries)
    for text in seen:
        for secret in secrets:
            assert secret not in text


async def test_no_answer_repeats_what_made_it_fail(door):
    canary = "canary-7f3a"
    for changes in (
        {"scope": canary},
        {"resource": f"https://{canary}"},
        {"client_id": f"agent:{canary}"},
        {"authorization_details": f'["{canary}"]'},
        {"client_assertion": canary},
        {"client_assertion_type": canary},
    ):
        answer = await door.ask(door.form(**changes))
        assert answer.status_code == 400
        assert canary not in answer.text


async def test_no_error_says_more_than_that_something_did_not_verify(door):
    for answer in (
        await door.ask(door.form(client_assertion=door.assertion(key=key_of("x")))),
        await door.ask(door.form(client_assertion="a.b.c")),
    ):
        text = answer.json()["error_description"]
        assert "Traceback" not in text
        assert key_of("agent").kid not in text


def test_an_error_keeps_the_nonce_for_its_header_and_not_for_its_text():

    error: BrokerError = NonceNeededError("once more", nonce="the-nonce")
    assert "the-nonce" not in f"{error.detail} {error.hint} {error}"
    assert error.headers == {"DPoP-Nonce": "the-nonce"}


async def test_a_token_names_nobody(door):
    claims = claims_in(await door.token("alice"))
    assert "alice" not in str(claims)
    assert "customer-7" not in str(claims_in(await door.token()))

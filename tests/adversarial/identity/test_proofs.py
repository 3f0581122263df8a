"""Catalogue C: hostile DPoP proofs, at the token endpoint and on calls."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, JTI_CHARS_MAX
from broker.core.identity.dpop import (
    PROOF_AGE_S_MAX,
    make_nonce,
    proof_key,
    token_hash,
)
from broker.core.jwk import private_to_jwk, public_to_jwk
from tests.support.identities import (
    INSTANCE_KEY,
    ISSUER,
    NOW_S,
    access_token,
    b64,
    compact,
    key_of,
    signed_token,
)

URL = f"{ISSUER}/v1/tools"


async def refused(door, **changes) -> None:
    """Refuse one and the same broken proof in both places."""
    answer = await door.ask(proof=door.proof(**changes))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    token = await door.token()
    fixed = {name: value for name, value in changes.items() if name != "htu"}
    if "htu" in changes:
        fixed["htu"] = moved(changes["htu"])
    proof = door.proof("GET", URL, token=token, **fixed)
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert (answer.status_code, answer.json()["code"]) == (401, "proof-invalid")
    assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


def moved(htu):
    """Return the same mistake in the address of a call."""
    if not isinstance(htu, str):
        return htu
    return htu.replace("/oauth/token", "/v1/tools").replace("oauth%2Ft", "v1%2Ft")


TOKEN_URL = f"{ISSUER}/oauth/token"


@pytest.mark.parametrize(
    "htu",
    [
        "http://127.0.0.1:8402/oauth/token",
        "https://127.0.0.1:8400/oauth/token",
        "http://localhost:8400/oauth/token",
        "http://evil.example/oauth/token",
        "http://user@127.0.0.1:8400/oauth/token",
        "http://127.0.0.1:8400@evil.example/oauth/token",
        "http://127.0.0.1:8400/oauth/./token",
        "http://127.0.0.1:8400/x/../oauth/token",
        "http://127.0.0.1:8400/oauth/token/",
        "http://127.0.0.1:8400/OAuth/token",
        "http://127.0.0.1:8400/oauth%2Ftoken",
        "http://127.0.0.1:8400//oauth/token",
        "/oauth/token",
        "",
        None,
        7,
        [TOKEN_URL],
        ...,
    ],
)
async def test_a_proof_for_another_address_is_refused(door, htu):
    await refused(door, htu=htu)


@pytest.mark.parametrize(
    "htu",
    [
        "HTTP://127.0.0.1:8400/oauth/token",
        "http://127.0.0.1:8400/oauth/token?x=1#y",
        "http://127.0.0.1:8400/%6Fauth/t%6fken",
        "http://127.0.0.1:8401/oauth/token",
    ],
)
async def test_another_writing_of_our_own_address_is_accepted(door, htu):
    assert (await door.ask(proof=door.proof(htu=htu))).status_code == 200


@pytest.mark.parametrize("htm", ["post", "get", "PUT", "", None, 1, ["POST"], ...])
async def test_a_proof_for_another_method_is_refused(door, htm):
    await refused(door, htm=htm)


@pytest.mark.parametrize("jti", [..., "", None, 7, "x" * (JTI_CHARS_MAX + 1)])
async def test_a_proof_without_a_usable_id_is_refused(door, jti):
    await refused(door, jti=jti)


async def test_an_id_of_sixty_four_kilobytes_is_refused(door):
    answer = await door.ask(proof=door.proof(jti="x" * 65_536))
    assert answer.json()["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize(
    "iat",
    [
        NOW_S - PROOF_AGE_S_MAX - 1,
        NOW_S + CLOCK_AHEAD_S_MAX + 1,
        0,
        -1,
        True,
        "now",
        None,
        10**15,
        ...,
    ],
)
async def test_a_proof_of_another_time_is_refused(door, iat):
    await refused(door, iat=iat)


@pytest.mark.parametrize(
    "jwk",
    [
        ...,
        None,
        {},
        "key",
        [],
        private_to_jwk(INSTANCE_KEY),
        {"kty": "oct", "k": b64(b"s" * 32)},
        proof_key(INSTANCE_KEY.public()) | {"x": b64(bytes(32)), "y": b64(bytes(32))},
        proof_key(INSTANCE_KEY.public()) | {"x": b64(b"\x01" * 32)},
        proof_key(INSTANCE_KEY.public()) | {"crv": "P-384"},
        proof_key(INSTANCE_KEY.public()) | {"crv": "Ed25519"},
        proof_key(INSTANCE_KEY.public()) | {"kty": "OKP"},
        proof_key(INSTANCE_KEY.public()) | {"x5c": ["AA"]},
        proof_key(INSTANCE_KEY.public()) | {"d": "AA"},
        proof_key(INSTANCE_KEY.public()) | {"x": "AA"},
        proof_key(key_of("somebody else").public()),
    ],
)
async def test_a_proof_with_another_sort_of_key_is_refused(door, jwk):
    await refused(door, header={"jwk": jwk})


async def test_a_short_rsa_key_is_refused(door):
    short = rsa.generate_private_key(65_537, 1_024)  # noqa: S505  (that is the point)
    numbers = short.public_key().public_numbers()
    jwk = {"kty": "RSA", "n": b64(numbers.n.to_bytes(128, "big")), "e": "AQAB"}
    await refused(door, header={"jwk": jwk, "alg": "RS256"})


async def test_what_a_client_adds_to_its_key_does_not_change_its_name(door):
    jwk = public_to_jwk(INSTANCE_KEY.public()) | {"kid": "chosen", "ext": True}
    token = await door.token()
    proof = door.proof("GET", URL, token=token, header={"jwk": jwk})
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert answer.status_code == 200


async def test_a_proof_is_good_once_whatever_is_changed_around_it(door):
    token = await door.token()
    proof = door.proof("GET", URL, token=token)
    assert (await door.call("GET", "/v1/tools", token, proof=proof)).status_code == 200
    for method, path in (
        ("GET", "/v1/tools"),
        ("GET", "/v1/tools?again=1"),
        ("POST", "/v1/tools"),
    ):
        answer = await door.call(method, path, token, proof=proof)
        assert answer.status_code == 401


async def test_a_proof_that_was_shown_with_one_body_is_not_good_with_another(door):
    token = await door.token()
    proof = door.proof("POST", URL, token=token)
    first = await door.call("POST", "/v1/tools", token, proof=proof, json={"n": 1})
    assert first.status_code == 200
    again = await door.call("POST", "/v1/tools", token, proof=proof, json={"n": 2})
    assert again.json()["detail"] == "the proof was used before"
    used = door.proof()
    assert (await door.ask(door.form(), proof=used)).status_code == 200
    swapped = door.form(resource=f"{ISSUER}/mcp")
    assert (await door.ask(swapped, proof=used)).json()["error"] == "invalid_dpop_proof"


async def test_the_same_id_and_key_in_a_new_proof_is_the_same_use(door):
    token = await door.token()
    one = door.proof("GET", URL, token=token, jti="chosen")
    assert (await door.call("GET", "/v1/tools", token, proof=one)).status_code == 200
    for htu in (URL, URL + "?x=1", "http://127.0.0.1:8401/v1/tools"):
        again = door.proof("GET", URL, token=token, jti="chosen", htu=htu)
        answer = await door.call("GET", "/v1/tools", token, proof=again)
        assert answer.json()["detail"] == "the proof was used before"


async def test_the_same_id_under_another_key_is_accepted(door):
    for name in ("instance", "second machine"):
        proof = door.proof(key=key_of(name), jti="the same")
        assert (await door.ask(proof=proof)).status_code == 200


async def test_of_fifty_equal_calls_at_once_one_is_admitted(door):
    token = await door.token()
    proof = door.proof("GET", URL, token=token)
    answers = await asyncio.gather(
        *(door.call("GET", "/v1/tools", token, proof=proof) for _ in range(50))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 49


async def test_a_proof_of_the_token_endpoint_is_no_proof_of_a_call(door):
    form = door.form()
    proof = door.proof()
    token = (await door.ask(form, proof=proof)).json()["access_token"]
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert answer.status_code == 401


@pytest.mark.parametrize("ath", [..., "", None, 5, token_hash("another"), "x" * 1000])
async def test_a_proof_for_another_token_is_refused(door, ath):
    token = await door.token()
    proof = door.proof("GET", URL, token=token, ath=ath)
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert answer.status_code == 401


async def test_a_stolen_token_with_the_thiefs_own_proof_is_refused(door):
    token = await door.token()
    proof = door.proof("GET", URL, token=token, key=key_of("thief"))
    answer = await door.call("GET", "/v1/tools", token, proof=proof)
    assert answer.json()["detail"] == "the proof is by another key than the token's"


async def test_a_bound_token_as_bearer_and_an_unbound_one_as_dpop_are_refused(door):
    bound = await door.token()
    unbound = signed_token(access_token(jkt=""))
    for headers in (
        {"authorization": f"Bearer {bound}"},
        {
            "authorization": f"Bearer {bound}",
            "dpop": door.proof("GET", URL, token=bound),
        },
        {"authorization": f"DPoP {bound}"},
        {
            "authorization": f"DPoP {unbound}",
            "dpop": door.proof("GET", URL, token=unbound),
        },
        {"authorization": f"Bearer {unbound}"},
    ):
        answer = await door.http.get("/v1/tools", headers=headers)
        assert answer.status_code == 401


async def test_two_proofs_or_two_tokens_are_refused(door):
    token = await door.token()
    proofs = [door.proof("GET", URL, token=token) for _ in range(2)]
    authorization = ("authorization", f"DPoP {token}")
    for headers in (
        [authorization, ("dpop", proofs[0]), ("dpop", proofs[1])],
        [authorization, ("dpop", f"{proofs[0]},{proofs[1]}")],
        [authorization, authorization, ("dpop", proofs[0])],
    ):
        answer = await door.http.get("/v1/tools", headers=headers)
        assert answer.status_code == 401
    form = door.form()
    content = "&".join(f"{name}={value}" for name, value in form.items())
    answer = await door.http.post(
        "/oauth/token",
        content=content.replace("+", "%2B").replace(":", "%3A"),
        headers=[
            ("content-type", "application/x-www-form-urlencoded"),
            ("dpop", door.proof()),
            ("dpop", door.proof()),
        ],
    )
    assert answer.json()["error"] == "invalid_dpop_proof"


async def test_a_nonce_that_is_not_ours_or_is_old_is_refused_and_replaced(door):
    token = await door.token()
    rule = await door.memory.rule()
    old = make_nonce(b"n" * 32, epoch=rule.epoch - 1, now=door.times.now())
    foreign = make_nonce(b"x" * 32, epoch=rule.epoch, now=door.times.now())
    stale = make_nonce(b"n" * 32, epoch=rule.epoch, now=door.times.now())
    door.times.pass_(120)
    for nonce in (old, foreign, stale, "made up"):
        proof = door.proof("GET", URL, token=token, nonce=nonce)
        answer = await door.call("GET", "/v1/tools", token, proof=proof)
        assert answer.status_code == 401
        fresh = answer.headers["dpop-nonce"]
        proof = door.proof("GET", URL, token=token, nonce=fresh)
        answer = await door.call("GET", "/v1/tools", token, proof=proof)
        assert answer.status_code == 200


async def test_a_proof_in_the_place_of_a_token_and_the_reverse_are_refused(door):
    token = await door.token()
    proof = door.proof("GET", URL, token=token)
    answer = await door.call("GET", "/v1/tools", proof, proof=token)
    assert answer.status_code == 401


async def test_a_proof_that_is_signed_by_another_key_than_it_shows_is_refused(door):
    header = {
        "typ": "dpop+jwt",
        "alg": "ES256",
        "jwk": proof_key(INSTANCE_KEY.public()),
    }
    claims = {"jti": "j", "htm": "POST", "htu": TOKEN_URL, "iat": NOW_S}
    forged = compact(header, claims, key_of("thief"))
    answer = await door.ask(proof=forged)
    assert answer.json()["error"] == "invalid_dpop_proof"

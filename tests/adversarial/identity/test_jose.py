"""Catalogue A: hostile JOSE in all three places where a token is read.

Each case is tried as a client assertion, as a DPoP proof and as an access token. None
may be accepted, none may cause a 5xx, and none may take long.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.jwk import Algorithm, public_to_jwk
from tests.support.door import Door, claims_in
from tests.support.identities import (
    AGENT_KEY,
    INSTANCE_KEY,
    ISSUER,
    TOKEN_KEY,
    b64,
    key_of,
    raw_signature,
)

SLOW_S = 1.0
PLACES = ("assertion", "proof", "token")
KEYS = {"assertion": AGENT_KEY, "proof": INSTANCE_KEY, "token": TOKEN_KEY}


async def genuine(door: Door, place: str) -> str:
    """Return what would be accepted in this place."""
    match place:
        case "assertion":
            return door.assertion()
        case "proof":
            return door.proof()
        case _:
            return await door.token()


async def show(door, place: str, text: str):
    """Show a token in its place, with everything else as it should be."""
    match place:
        case "assertion":
            return await door.ask(door.form(client_assertion=text))
        case "proof":
            return await door.ask(proof=text)
        case _:
            proof = door.proof("GET", f"{ISSUER}/v1/tools", token=ascii_of(text))
            headers = {"authorization": f"DPoP {text}", "dpop": proof}
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            return await door.http.get("/v1/tools", headers=encoded)


def ascii_of(text: str) -> str:
    return text.encode("ascii", "replace").decode()


async def refused(door, place: str, text: str) -> None:
    began = time.monotonic()
    answer = await show(door, place, text)
    assert time.monotonic() - began < SLOW_S
    assert answer.status_code == (401 if place == "token" else 400), answer.text
    assert "access_token" not in answer.text
    assert answer.status_code < 500


def taken_apart(text: str) -> tuple[dict, dict, str]:
    header, payload, signature = text.split(".")
    return unb64(header), unb64(payload), signature


def unb64(part: str) -> dict:
    found: dict = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def signed(place: str, header: object, payload: object) -> str:
    """Sign anything with the key that belongs here."""
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, payload)
    ]
    text = ".".join(parts)
    return f"{text}.{b64(raw_signature(text.encode(), KEYS[place]))}"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_what_is_genuine_is_accepted_in_its_place(door, place):
    answer = await show(door, place, await genuine(door, place))
    assert answer.status_code == 200


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", ""])
async def test_no_signature_is_no_signature_however_it_is_spelt(door, place, alg):
    header, payload, _ = taken_apart(await genuine(door, place))
    head = b64(json.dumps(header | {"alg": alg}).encode())
    body = b64(json.dumps(payload).encode())
    await refused(door, place, f"{head}.{body}.")
    await refused(door, place, f"{head}.{body}.AAAA")


def secrets_of(place: str) -> list[bytes]:
    key = KEYS[place].public()
    return [
        key.material.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key.material.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(public_to_jwk(key)).encode(),
        b"",
    ]


@pytest.mark.parametrize("which", range(4))
async def test_a_mac_keyed_with_the_public_key_is_refused(door, place, which):
    header, payload, _ = taken_apart(await genuine(door, place))
    text = ".".join(
        b64(json.dumps(part).encode()) for part in (header | {"alg": "HS256"}, payload)
    )
    mac = hmac.digest(secrets_of(place)[which], text.encode(), hashlib.sha256)
    await refused(door, place, f"{text}.{b64(mac)}")


@pytest.mark.parametrize(
    "alg", ["es256", "ES256K", "ES384", "RS256", "PS256", "EdDSA", "Ed448", 256, None]
)
async def test_another_algorithm_than_the_keys_own_is_refused(door, place, alg):
    header, payload, _ = taken_apart(await genuine(door, place))
    await refused(door, place, signed(place, header | {"alg": alg}, payload))


async def test_a_signature_with_another_curve_is_refused(door, place):
    other = ec.generate_private_key(ec.SECP384R1())
    header, payload, _ = taken_apart(await genuine(door, place))
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, payload))
    der = other.sign(text.encode(), ec.ECDSA(SHA256()))
    await refused(door, place, f"{text}.{b64(der)}")


async def test_a_signature_in_der_is_refused(door, place):
    text = (await genuine(door, place)).rpartition(".")[0]
    material = KEYS[place].material
    assert isinstance(material, ec.EllipticCurvePrivateKey)
    der = material.sign(text.encode(), ec.ECDSA(SHA256()))
    await refused(door, place, f"{text}.{b64(der)}")


@pytest.mark.parametrize(
    "signature",
    ["", "AA", b64(bytes(64)), b64(b"\xff" * 64), b64(bytes(63)), b64(bytes(65))],
)
async def test_an_empty_zero_or_cut_signature_is_refused(door, place, signature):
    text = (await genuine(door, place)).rpartition(".")[0]
    await refused(door, place, f"{text}.{signature}")


async def test_one_flipped_bit_anywhere_is_refused(door, place):
    text = await genuine(door, place)
    for position in range(0, len(text), 29):
        if text[position] != ".":
            other = "A" if text[position] != "A" else "B"
            changed = text[:position] + other + text[position + 1 :]
            await refused(door, place, changed)


@pytest.mark.parametrize("shape", ["{0}.{1}", "{0}.{1}.{2}.", "{0}.{1}.{2}.{2}.{2}"])
async def test_another_number_of_parts_is_refused(door, place, shape):
    parts = (await genuine(door, place)).split(".")
    await refused(door, place, shape.format(*parts))


@pytest.mark.parametrize("change", ["pad", "newline", "std", "space"])
async def test_another_base64_is_refused(door, place, change):
    parts = (await genuine(door, place)).split(".")
    match change:
        case "pad":
            parts[0] += "=" * (-len(parts[0]) % 4 or 4)
        case "newline":
            parts[1] = parts[1][:10] + "%0A" + parts[1][10:]
        case "std":
            parts[2] = parts[2][:-2] + "+/"
        case _:
            parts[1] = parts[1][:10] + " " + parts[1][10:]
    await refused(door, place, ".".join(parts))


async def test_duplicate_names_in_header_or_payload_are_refused(door, place):
    header, payload, _ = taken_apart(await genuine(door, place))
    double = json.dumps(header)[:-1] + ', "alg": "ES256"}'
    await refused(door, place, signed(place, double.encode(), payload))
    name = next(iter(payload))
    double = json.dumps(payload)[:-1] + f", {json.dumps(name)}: 1}}"
    await refused(door, place, signed(place, header, double.encode()))


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "1e400", "true", '"9999999999"', "-1", "9" * 5000, "1.5"],
)
async def test_a_time_that_is_no_integer_is_refused(door, place, number):
    header, payload, _ = taken_apart(await genuine(door, place))
    name = "iat" if place == "proof" else "exp"
    payload[name] = "HERE"
    body = json.dumps(payload).replace('"HERE"', number)
    await refused(door, place, signed(place, header, body.encode()))


async def test_nesting_of_any_depth_is_an_answer_and_not_a_crash(door, place):
    header, payload, _ = taken_apart(await genuine(door, place))
    for depth in (100, 2_500):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        await refused(door, place, signed(place, header, deep[:5_800]))
        body = json.dumps(payload)[:-1].encode() + b', "deep": ' + b"[" * depth
        body = body[:5_000] + b"]" * min(depth, 700) + b"}"
        await refused(door, place, signed(place, header, body[:5_900]))


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"1", b"null", b'"x"', b"", b"\xff\xfe", b'{"a": "\\ud800"}', b"{} {}"],
)
async def test_a_payload_that_is_no_object_is_refused(door, place, payload):
    header, _, _ = taken_apart(await genuine(door, place))
    await refused(door, place, signed(place, header, payload))


@pytest.mark.parametrize(
    "field",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": "exp"},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"x5c": ["AA"]},
        {"x5t": "AA"},
    ],
)
async def test_a_header_that_could_change_the_meaning_is_refused(door, place, field):
    header, payload, _ = taken_apart(await genuine(door, place))
    await refused(door, place, signed(place, header | field, payload))


async def test_no_header_makes_us_fetch_anything(door, place):
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/keys"
        header, payload, _ = taken_apart(await genuine(door, place))
        for field in ({"jku": url}, {"x5u": url}, {"jwk": {"x5u": url}}, {"kid": url}):
            await refused(door, place, signed(place, header | field, payload))
        with pytest.raises(TimeoutError):
            canary.accept()


@pytest.mark.parametrize("place", ["assertion", "token"])
async def test_a_key_that_comes_along_is_not_used(door, place):
    header, payload, _ = taken_apart(await genuine(door, place))
    thief = key_of("thief")
    jwk = public_to_jwk(thief.public())
    for extra in ({"jwk": jwk}, {"jwk": jwk, "kid": thief.kid}):
        text = ".".join(
            b64(json.dumps(part).encode()) for part in (header | extra, payload)
        )
        forged = f"{text}.{b64(raw_signature(text.encode(), thief))}"
        await refused(door, place, forged)


@pytest.mark.parametrize("place", ["assertion", "token"])
@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "' OR '1'='1",
        ["a"],
        1,
        None,
        {"a": 1},
        "a" * 65_536,
        "a\u0000b",
        "",
    ],
)
async def test_a_key_id_names_a_known_key_or_nothing(door, place, kid):
    header, payload, _ = taken_apart(await genuine(door, place))
    forged = signed(place, header | {"kid": kid}, payload)
    if place == "assertion" and kid == "":
        # An empty key id is no key id: every slot of the client is tried.
        assert (await show(door, place, forged)).status_code == 200
        return
    await refused(door, place, forged)


async def test_no_artefact_is_accepted_in_the_place_of_another(door, place):
    others = {
        "assertion": await door.token(),
        "proof": door.assertion(),
        "token": door.proof("GET", f"{ISSUER}/v1/tools"),
    }
    await refused(door, place, others[place])
    # Not even with the signature and the claims of this place and the other's type.
    header, payload, _ = taken_apart(await genuine(door, place))
    types = {
        "assertion": ["dpop+jwt", "at+jwt", "oauth-id-jag+jwt", "logout+jwt"],
        "proof": ["JWT", "at+jwt", "DPOP+JWT", "application/dpop+jwt"],
        "token": ["JWT", "jwt", "dpop+jwt", "AT+JWT", "application/at+jwt"],
    }
    for typ in types[place]:
        await refused(door, place, signed(place, header | {"typ": typ}, payload))


async def test_a_token_without_a_type_is_refused(door):
    header, payload, _ = taken_apart(await door.token())
    del header["typ"]
    await refused(door, "token", signed("token", header, payload))


async def test_an_ed25519_signature_is_no_es256_signature(door, place):
    header, payload, _ = taken_apart(await genuine(door, place))
    other = key_of("ed", Algorithm.EDDSA)
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, payload))
    forged = f"{text}.{b64(raw_signature(text.encode(), other))}"
    await refused(door, place, forged)


async def test_text_that_is_not_ascii_is_refused(door, place):
    text = await genuine(door, place)
    await refused(door, place, "\u00e4" + text)
    await refused(door, place, text + "\u00e4")


async def test_a_token_is_at_most_as_long_as_it_may_be(door, place):
    header, payload, _ = taken_apart(await genuine(door, place))
    await refused(door, place, signed(place, header, payload | {"x": "y" * 9_000}))
    assert claims_in(await door.token())

"""Each kind of credential: what it must be told, and what its secret looks like."""

import hmac
import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, private_from_seed, private_to_jwk
from broker.edge.vault.access import access_with
from broker.edge.vault.credential import Credential
from broker.edge.vault.kinds import (
    KINDS,
    PEM_CHARS_MAX,
    PINS_MAX,
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    SETTING_CHARS_MAX,
    VaultError,
    check_secret,
    pair,
)

PIN = "sha256/" + "A" * 43 + "="
OAUTH = {
    "token_url": "https://sso.test/o/token/",
    "client_id": "shop",
    "client_auth": "basic",
}
SETTINGS: dict[str, dict[str, str]] = {
    "bearer": {},
    "basic": {"user": "shop"},
    "header": {"header": "X-Api-Key"},
    "query": {"parameter": "api_key"},
    "path": {},
    "mtls": {"certificate": "-----BEGIN CERTIFICATE-----\nQQ==\n-----END X-----\n"},
    "signature": {"header": "Webhook-Signature"},
    "webhook": {},
    "oauth_client": OAUTH,
    "oauth_refresh": OAUTH | {"scope": "read write"},
}
SECRET = b"s3cret/with+every=kind&of;char"


def make(
    kind: str, *, base_url: str = "https://crm.test", **changes: str | None
) -> Credential:
    settings: dict[str, Any] = SETTINGS[kind] | changes
    return Credential(
        tenant="demo",
        environment="dev",
        connector="mail",
        version=1,
        kind=kind,
        base_url=base_url,
        allow_private=False,
        settings={name: text for name, text in settings.items() if text is not None},
    )


def test_every_kind_is_made_and_told_nothing_more() -> None:
    assert set(KINDS) == set(SETTINGS)
    for kind, settings in SETTINGS.items():
        make(kind, pins=PIN)
        with pytest.raises(VaultError, match="has no"):
            make(kind, colour="red")
        for name in settings.keys() - {"scope"}:
            with pytest.raises(VaultError, match=f"needs {name}"):
                make(kind, base_url="https://crm.test", **{name: None})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("basic", "user", "a:b"),
        ("header", "header", "X-Key\r\nX-Evil"),
        ("header", "header", "Host"),
        ("header", "header", "content-length"),
        ("header", "header", "Transfer-Encoding"),
        ("header", "header", "Cookie"),
        ("header", "header", "Idempotency-Key"),
        ("header", "header", "X-Forwarded-For"),
        ("query", "parameter", "a=b&c"),
        ("mtls", "certificate", "not a certificate"),
        ("oauth_client", "token_url", "ftp://sso.test/token"),
        ("oauth_client", "token_url", "https://user@sso.test/token"),
        ("oauth_client", "token_url", "http://sso.test/token"),
        ("oauth_client", "client_auth", "none"),
        ("oauth_refresh", "client_auth", "private_key_jwt"),
        ("oauth_client", "scope", "two  spaces"),
        ("bearer", "pins", "sha256/short"),
        ("bearer", "ca", "x"),
    ],
)
def test_what_an_upstream_could_read_differently_is_refused(kind, name, value) -> None:
    with pytest.raises(VaultError) as caught:
        make(kind, **{name: value})
    assert value not in str(caught.value)


def test_settings_have_a_longest_length() -> None:
    make("oauth_client", scope="x" * SETTING_CHARS_MAX)
    with pytest.raises(VaultError, match="too long"):
        make("oauth_client", scope="x" * (SETTING_CHARS_MAX + 1))
    body = "QQQQ\n" * (PEM_CHARS_MAX // 5 - 20)
    make("bearer", ca=f"-----BEGIN X-----\n{body}-----END X-----\n")
    with pytest.raises(VaultError, match="too long"):
        make("bearer", ca=f"-----BEGIN X-----\n{body * 2}-----END X-----\n")
    make("bearer", pins=",".join([PIN] * PINS_MAX))
    with pytest.raises(VaultError, match="pins"):
        make("bearer", pins=",".join([PIN] * (PINS_MAX + 1)))


def test_tls_settings_need_tls() -> None:
    with pytest.raises(VaultError, match="https"):
        Credential(
            tenant="demo", environment="dev", connector="x", version=1, kind="bearer",
            base_url="http://127.0.0.1:1", allow_private=True, settings={"pins": PIN},
        )  # fmt: skip


PEM = b"-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n"
JWK = json.dumps(
    dict(
        private_to_jwk(private_from_seed(b"c" * SEED_BYTES, algorithm=Algorithm.ES256))
    ),
    separators=(",", ":"),
).encode()
BOTH = b'{"client_secret":"%s","refresh_token":"%s"}' % (b"c" * 16, b"r" * 16)


@pytest.mark.parametrize(
    ("kind", "auth", "good", "bad"),
    [
        ("bearer", "", b"x" * 16, b"with a space in it"),
        ("basic", "", b"a pass phrase of words", b"line\nbreak in a password"),
        ("header", "", b"x" * 16, b"x" * 16 + b"\r\nX: y"),
        ("path", "", b"services/T00/B00/xxxxxxxx", b"services/../../admin/xx"),
        ("path", "", b"bot123:abc-def_ghi~jkl", b"/services/T00/B00/xxxx"),
        ("path", "", b"services/T00/B00/xxxxxxxx", b"services/T00?x=y#zzzzz"),
        ("webhook", "", b"whsec_" + b"A" * 32, b"whsec_" + b"A" * 28),
        ("webhook", "", b"whsec_" + b"A" * 86 + b"==", b"A" * 32),
        ("mtls", "", PEM, b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nQ\n"),
        ("oauth_client", "private_key_jwt", JWK, b'{"kty":"oct","k":"xxxxxxxx"}'),
        ("oauth_refresh", "none", b"r" * 16, b"r" * 15),
        ("oauth_refresh", "basic", BOTH, b"r" * 16),
        ("oauth_refresh", "post", BOTH, b'{"client_secret":"x","refresh_token":"y"}'),
    ],
)
def test_a_secret_has_the_form_of_its_kind(kind, auth, good, bad) -> None:
    settings = SETTINGS[kind] | ({"client_auth": auth} if auth else {})
    check_secret(kind, settings, good)
    with pytest.raises(VaultError) as caught:
        check_secret(kind, settings, bad)
    assert bad.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/", "/services/T00/B00/xxxxxxxx"),
        ("/sendMessage", "/services/T00/B00/xxxxxxxx/sendMessage"),
        ("/?a=b", "/services/T00/B00/xxxxxxxx/?a=b"),
    ],
)
def test_a_web_hooks_key_is_its_address(asked, sent) -> None:
    access = access_with(make("path"), b"services/T00/B00/xxxxxxxx")
    assert access.target(asked) == sent
    assert access.secrets == (b"services/T00/B00/xxxxxxxx",)
    assert access.headers == ()
    long = access_with(make("path"), b"services/T00/" + b"x" * 16)
    assert long.secrets == (b"services/T00/" + b"x" * 16, b"x" * 16)


def test_a_pair_is_taken_apart() -> None:
    assert pair(BOTH) == (b"c" * 16, b"r" * 16)
    assert len(BOTH) <= SECRET_BYTES_MAX
    assert SECRET_BYTES_MIN == 16


@pytest.mark.parametrize(
    ("kind", "headers", "query"),
    [
        ("bearer", ((b"Authorization", b"Bearer " + SECRET),), ""),
        (
            "basic",
            ((b"Authorization", b"Basic " + b64encode(b"shop:" + SECRET)),),
            "",
        ),
        ("header", ((b"X-Api-Key", SECRET),), ""),
        ("query", (), "api_key=s3cret%2Fwith%2Bevery%3Dkind%26of%3Bchar"),
        ("mtls", (), ""),
    ],
)  # fmt: skip
def test_a_secret_travels_as_its_kind_says(kind, headers, query) -> None:
    access = access_with(make(kind), SECRET)
    assert (access.headers, access.query) == (headers, query)
    # What is sent is looked for in answers; a private key is never sent.
    assert access.secrets == (() if kind == "mtls" else (SECRET,))
    assert access.client_key == (SECRET if kind == "mtls" else b"")
    assert SECRET.decode() not in repr(access)


@given(body=st.none() | st.binary(max_size=50), at_s=st.integers(0, 2**40))
def test_a_signature_covers_the_time_and_the_body_and_does_not_show_the_secret(
    body, at_s
) -> None:
    access = access_with(make("signature"), SECRET)
    [(header, value)] = access.headers_for(body, at_s=at_s)
    signed = b"%d.%s" % (at_s, body or b"")
    code = hmac.new(SECRET, signed, "sha256").hexdigest()
    assert (header, value) == (b"Webhook-Signature", f"t={at_s},v1={code}".encode())
    other = access.headers_for((body or b"") + b" ", at_s=at_s)
    assert other != access.headers_for(body, at_s=at_s)
    assert access.secrets == (SECRET,)
    assert SECRET.decode() not in repr(access)


def test_a_kind_that_signs_nothing_sends_its_headers_whatever_the_body() -> None:
    access = access_with(make("bearer"), SECRET)
    assert access.headers_for(b"x", at_s=1) == access.headers


def test_a_web_hook_is_signed_as_standard_webhooks_are() -> None:
    # The worked example of the specification.
    access = access_with(make("webhook"), b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = access.headers_for(
        b'{"test": 2432232314}', at_s=1_614_265_330, key="msg_p5jXN8AQM9LWM0D4loKWxJek"
    )
    assert dict(headers) == {
        b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
        b"webhook-timestamp": b"1614265330",
        b"webhook-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" in access.secrets
    assert "MfKQ9r8G" not in repr(access)

"""The scan: a credential is found in every form that it plainly takes."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.egress.echo import echoes, forms

SECRET = b"s3cr3t/credential+of~the=tests"
secrets = st.binary(min_size=16, max_size=64).map(
    lambda raw: bytes(33 + byte % 94 for byte in raw)
)


@given(secret=secrets, before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_the_secret_is_found_in_every_coding_at_any_place(
    secret, before, after
) -> None:
    whole = before + secret + after
    for coded in (
        whole,
        base64.b64encode(whole),
        base64.urlsafe_b64encode(whole),
        base64.b64encode(whole).rstrip(b"="),
        before + secret.hex().encode(),
        before + secret.hex().upper().encode(),
        quote(secret, safe="").encode(),
        b"".join(b"%%%02x" % byte for byte in secret),
        b"".join(b"\\u%04x" % byte for byte in secret),
        json.dumps(secret.decode()).encode(),
    ):
        assert echoes(b"<" + coded + b">", secret), coded


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SECRET[:-1],
        SECRET[1:],
        SECRET.swapcase(),
        base64.b64encode(SECRET[:20]),
        b"\\" * 100,
        b"%" * 100,
        b"\\u00zz%zz",
    ],
)
def test_other_answers_pass(body) -> None:
    assert not echoes(body, SECRET)


def test_a_pass_phrase_is_found_as_forms_and_urls_write_it() -> None:
    phrase = b"correct horse battery staple"
    for body in (phrase, b"pw=correct+horse+battery+staple", quote(phrase).encode()):
        assert echoes(body, phrase), body
    assert not echoes(b"correct-horse-battery-staple", phrase)


def test_an_address_that_was_encoded_twice_is_read() -> None:
    twice = quote(quote(SECRET, safe=""), safe="").encode()
    assert echoes(b"next=" + twice, SECRET)


def test_a_json_answer_that_escapes_its_slashes_is_read() -> None:
    assert echoes(b'{"a":"' + SECRET.replace(b"/", b"\\/") + b'"}', SECRET)


@given(secret=secrets)
def test_a_form_is_long_enough_not_to_be_found_by_accident(secret) -> None:
    assert all(len(form) >= 16 for form in forms(secret))

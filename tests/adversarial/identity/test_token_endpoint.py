"""Catalogue D: hostile requests to the token endpoint; never a 5xx, never a token."""

from __future__ import annotations

import time
from urllib.parse import quote, urlencode

import pytest

from broker.api.identity.forms import (
    FORM_BYTES_MAX,
    FORM_FIELDS_MAX,
    FormError,
    parse_form,
)
from broker.core.words.entry import EntryKind
from tests.support.identities import API, INTERACTION_ID, ISSUER

FORM = "application/x-www-form-urlencoded"


async def post(door, content: bytes, content_type: str | None = FORM):
    headers = {"dpop": door.proof()}
    if content_type is not None:
        headers["content-type"] = content_type
    began = time.monotonic()
    answer = await door.http.post("/oauth/token", content=content, headers=headers)
    assert time.monotonic() - began < 1
    return answer


async def refused(door, content: bytes, error: str, content_type: str | None = FORM):
    answer = await post(door, content, content_type)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == error
    assert answer.headers["cache-control"] == "no-store"
    assert door.logged(EntryKind.TOKEN) == []


@pytest.mark.parametrize(
    "field",
    [
        "grant_type",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "unknown",
    ],
)
async def test_a_field_that_stands_twice_is_refused(door, field):
    base = urlencode(door.form(scope="tool:orders.get", unknown="x"))
    for value in ("x", "", quote(door.form().get(field, "x"))):
        await refused(door, f"{base}&{field}={value}".encode(), "invalid_request")


async def test_two_resources_are_an_invalid_target(door):
    content = f"{urlencode(door.form())}&resource={quote(API)}".encode()
    await refused(door, content, "invalid_target")


@pytest.mark.parametrize(
    "resource",
    [
        ...,
        "",
        f"{API}/",
        f"{API}#x",
        f"{API}?x=1",
        API.upper(),
        "/v1",
        "v1",
        "//127.0.0.1:8400/v1",
        ISSUER,
        f"{ISSUER}/",
        f"{ISSUER}/internal",
        f"{ISSUER}/console",
        "https://other.example/v1",
        f"{ISSUER}.evil.example/v1",
        f"{ISSUER}/v1/../v1",
        f"{ISSUER}/mcp/{INTERACTION_ID}/",
        f"{ISSUER}/mcp/{INTERACTION_ID.upper().replace('-', '_')}",
        f"{API} {ISSUER}/mcp",
    ],
)
async def test_a_resource_is_one_of_ours_exactly(door, resource):
    content = urlencode(door.form(resource=resource)).encode()
    await refused(door, content, "invalid_target")


async def test_an_audience_that_differs_from_the_resource_is_refused(door):
    content = urlencode(door.form(audience=f"{ISSUER}/mcp")).encode()
    await refused(door, content, "invalid_target")
    assert (await door.ask(door.form(audience=API))).status_code == 200


@pytest.mark.parametrize(
    "grant_type",
    [
        "password",
        "refresh_token",
        "authorization_code",
        "implicit",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "urn:ietf:params:oauth:grant-type:device_code",
        "CLIENT_CREDENTIALS",
        "client_credentials ",
        "",
        "x" * 1_000,
        "\u202eclient_credentials",
        '"\\quoted"',
    ],
)
async def test_another_grant_is_unsupported_whoever_asks(door, grant_type):
    content = urlencode(door.form(grant_type=grant_type)).encode()
    await refused(door, content, "unsupported_grant_type")
    content = urlencode({"grant_type": grant_type}).encode()
    await refused(door, content, "unsupported_grant_type")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        f"{FORM}; charset=utf-16",
        f"{FORM}; charset=utf-7",
        f"{FORM}; charset=iso-8859-1",
        f"{FORM}, application/json",
        f"{FORM}; charset=utf-8; charset=utf-16",
        "application/x-www-form-urlencoded-evil",
    ],
)
async def test_another_media_type_or_charset_is_refused(door, content_type):
    content = urlencode(door.form()).encode()
    await refused(door, content, "invalid_request", content_type)


@pytest.mark.parametrize("content_type", [f"{FORM};charset=UTF-8", FORM.upper()])
async def test_the_usual_writings_of_the_media_type_are_accepted(door, content_type):
    answer = await post(door, urlencode(door.form()).encode(), content_type)
    assert answer.status_code == 200


async def test_json_in_the_body_is_refused(door):
    await refused(door, b'{"grant_type": "client_credentials"}', "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_another_method_is_refused(door, method):
    path = "/oauth/token"
    answer = await door.http.request(method, path, params=door.form())
    assert answer.status_code == 405


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"&&&",
        b"=",
        b"grant_type",
        b"grant_type=%",
        b"grant_type=%2",
        b"grant_type=%zz",
        b"grant_type=%ff%fe",
        b"grant_type=client_credentials%00",
        b"grant_type=client_credentials%0d%0aX-Evil:1",
        b"grant%20type=client_credentials",
        b"\xff\xfe\x00",
        b"__proto__=x&grant_type[]=client_credentials",
    ],
)
async def test_a_body_that_is_no_plain_form_is_refused(door, content):
    answer = await post(door, content)
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_request", "unsupported_grant_type"}
    assert "x-evil" not in answer.headers


async def test_a_megabyte_is_refused_without_being_read_to_the_end(door):
    read = 0

    async def endless():
        nonlocal read
        for _ in range(1_024):
            read += 1
            yield b"a=" + b"b" * 1_022

    headers = {"content-type": FORM, "dpop": door.proof()}
    answer = await door.http.post("/oauth/token", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    # Each piece is a kilobyte: one more than fits is the last that is asked for.
    assert read == FORM_BYTES_MAX // 1_024 + 1


async def test_a_scope_of_half_a_million_words_takes_no_time(door):
    scope = "tool:a.b " * 2_000
    await refused(door, urlencode(door.form(scope=scope)).encode(), "invalid_scope")
    scope = "x" * 500_000
    await refused(door, urlencode(door.form(scope=scope)).encode(), "invalid_request")


@pytest.mark.parametrize(
    "scope",
    [
        "admin",
        "*",
        "tool:*",
        "tool:orders.refund\ttool:orders.get",
        "tool:orders.get\u00a0tool:orders.refund",
        "interaction:*",
        f"interaction:{INTERACTION_ID} interaction:{INTERACTION_ID}",
        "offline_access",
        "openid",
        "\u202etool:orders.get",
    ],
)
async def test_a_scope_of_another_kind_is_refused(door, scope):
    content = urlencode(door.form(scope=scope)).encode()
    await refused(door, content, "invalid_scope")


@pytest.mark.parametrize(
    "details",
    [
        "[]",
        "{}",
        "null",
        "[{}]",
        '[{"type":"counterfoil"},{"type":"counterfoil"}]',
        '[{"type":"counterfoil","tools":[]}]',
        '[{"type":"counterfoil","admin":true}]',
        '[{"type":"counterfoil","amount_max_minor_units":1e9,"currency":"USD"}]',
        '[{"type":"counterfoil","type":"counterfoil"}]',
        "[" * 3_000,
        '[{"type":"counterfoil","tools":["' + "a" * 5_000 + '"]}]',
    ],
)
async def test_details_that_are_not_exactly_ours_are_refused(door, details):
    content = urlencode(door.form(authorization_details=details)).encode()
    await refused(door, content, "invalid_authorization_details")


async def test_contradicting_ways_of_narrowing_are_refused(door):
    other = INTERACTION_ID.replace("e1", "e2")
    form = door.form(
        resource=f"{ISSUER}/mcp/{INTERACTION_ID}", scope=f"interaction:{other}"
    )
    await refused(door, urlencode(form).encode(), "invalid_scope")


async def test_an_unknown_field_is_ignored_and_an_empty_one_counts_as_absent(door):
    form = urlencode(door.form()) + "&scope=&authorization_details=&foo=bar"
    assert (await post(door, form.encode())).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"a=%",
        b"a=%2",
        b"a=%zz",
        b"%zz=1",
        b"a=%ff",
        b"a=\xff",
        b"a=%00",
        b"a=b%0bc",
        b"a=%7f",
        b"a%0a=1",
        b"a=1&a=1",
        b"a=1&%61=2",
    ],
)
def test_what_has_no_single_meaning_is_no_form(content):
    with pytest.raises(FormError):
        parse_form(content, content_type=FORM)


def test_a_form_reads_as_it_was_meant():
    found = parse_form(b"a=b+c%20d&e=%C3%A4&f=&g", content_type=FORM)
    assert found == {"a": "b c d", "e": "\u00e4"}


def test_a_form_at_its_limits_is_read_and_one_past_them_is_not():
    fields = b"&".join(b"f%d=1" % number for number in range(FORM_FIELDS_MAX))
    assert len(parse_form(fields, content_type=FORM)) == FORM_FIELDS_MAX
    with pytest.raises(FormError, match="fields"):
        parse_form(fields + b"&one=more", content_type=FORM)
    longest = b"a=" + b"x" * (FORM_BYTES_MAX - 2)
    assert len(parse_form(longest, content_type=FORM)["a"]) == FORM_BYTES_MAX - 2
    with pytest.raises(FormError, match="longer"):
        parse_form(longest + b"x", content_type=FORM)


async def test_all_answers_to_bad_requests_are_oauth_errors_in_json(door):
    for content in (
        b"",
        b"grant_type=password",
        urlencode(door.form(scope="x")).encode(),
    ):
        answer = await post(door, content)
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"error", "error_description"}

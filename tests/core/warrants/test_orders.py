"""Claims: what is written is what is read, and anything else is refused whole."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.jws import Algorithm, private_from_seed, sign, verify
from broker.core.warrants.orders import (
    ALARMS_MAX,
    EPOCH_MAX,
    EPOCHS_MAX,
    IDEMPOTENCY_KEY_CHARS_MAX,
    NONCE_CHARS_MAX,
    REQUESTS_MAX,
    TEXT_CHARS_MAX,
    VALUE_CHARS_MAX,
    VALUES_MAX,
    Hello,
    OrderError,
    hello_claims,
    id_time,
    is_id,
    is_nonce,
    is_receipt_value,
    parse_hello,
    parse_receipt,
    parse_warrant,
    receipt_claims,
    warrant_claims,
)
from broker.core.words.warrant import (
    RECEIPT_TYP,
    WARRANT_TTL_S_MAX,
    WARRANT_TYP,
    Receipt,
    SentState,
    Warrant,
)

KEY = private_from_seed(bytes(48), algorithm=Algorithm.EDDSA)
ISSUER = "http://broker.test"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

ids = st.uuids().map(str)
words = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126),
    min_size=1,
    max_size=30,
)
numbers = st.integers(min_value=0, max_value=EPOCH_MAX)
moments = st.integers(min_value=0, max_value=4_000_000_000_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def warrants(draw: st.DrawFn) -> Warrant:
    issued_at = draw(moments)
    life_ms = draw(st.integers(min_value=1, max_value=WARRANT_TTL_S_MAX * 1000))
    epochs = draw(st.dictionaries(words, numbers, max_size=EPOCHS_MAX))
    return Warrant(
        warrant_id=draw(ids),
        action_id=draw(ids),
        tenant=draw(words),
        environment=draw(words),
        connector=draw(words),
        tool=draw(words),
        manifest=draw(st.binary(min_size=32, max_size=32)).hex(),
        arguments=draw(st.dictionaries(words, json_values, max_size=4)),
        customer_id=draw(words | st.just("")),
        agent_id=draw(words),
        edge=draw(words),
        boot=draw(words),
        epochs=tuple(sorted(epochs.items())),
        idempotency_key=draw(words | st.just("")),
        issued_at=issued_at,
        expires_at=issued_at + timedelta(milliseconds=life_ms),
        person_id=draw(words | st.just("")),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    return Receipt(
        warrant_id=draw(ids),
        action_id=draw(ids),
        edge=draw(words),
        boot=draw(words),
        nonce=draw(words | st.just("")),
        state=draw(st.sampled_from(SentState)),
        upstream_status=draw(st.integers(min_value=0, max_value=999)),
        values=draw(
            st.dictionaries(
                words, st.none() | st.booleans() | numbers | words, max_size=5
            )
        ),
        requests=tuple(
            draw(st.lists(st.dictionaries(words, numbers, max_size=2), max_size=3))
        ),
        alarms=tuple(draw(st.lists(words, max_size=3))),
        issued_at=draw(moments),
    )


def a_warrant(**changes: object) -> dict[str, object]:
    return {
        "jti": str(UUID(int=1)),
        "iss": ISSUER,
        "aud": "edge-1",
        "boot": "boot-1",
        "iat_ms": 1_000,
        "exp_ms": 6_000,
        "action": str(UUID(int=2)),
        "tenant": "demo",
        "environment": "dev",
        "connector": "retail",
        "tool": "orders.refund",
        "manifest": "0" * 64,
        "arguments": {"order_id": "W1"},
        "customer": "",
        "agent": "a",
        "person": "",
        "epochs": {"global:dev": 0},
        "key": "k",
    } | changes


def a_receipt(**changes: object) -> dict[str, object]:
    return {
        "iss": "edge-1",
        "boot": "boot-1",
        "warrant": str(UUID(int=1)),
        "action": str(UUID(int=2)),
        "nonce": "",
        "iat_ms": 1_000,
        "state": "answered",
        "upstream_status": 201,
        "values": {"owner": "c"},
        "requests": [],
        "alarms": [],
    } | changes


@given(warrant=warrants())
def test_a_signed_warrant_is_read_as_it_was_written(warrant) -> None:
    token = sign(warrant_claims(warrant, issuer=ISSUER), key=KEY, typ=WARRANT_TYP)
    claims = verify(token, keys={KEY.kid: KEY.public()}, typ=WARRANT_TYP, floats=True)
    assert parse_warrant(claims) == warrant


@given(receipt=receipts())
def test_a_signed_receipt_is_read_as_it_was_written(receipt) -> None:
    token = sign(receipt_claims(receipt), key=KEY, typ=RECEIPT_TYP)
    claims = verify(token, keys={KEY.kid: KEY.public()}, typ=RECEIPT_TYP)
    assert parse_receipt(claims) == receipt


@given(edge=words, boot=words, nonce=words, at=moments)
def test_a_hello_is_read_as_it_was_written(edge, boot, nonce, at) -> None:
    hello = Hello(edge=edge, boot=boot, nonce=nonce, issued_at=at)
    assert parse_hello(hello_claims(hello)) == hello


@pytest.mark.parametrize("name", sorted(a_warrant()))
@pytest.mark.parametrize("wrong", [None, 1.5, -1, True, [], "\n", "x" * 300, 2**53])
def test_a_warrant_with_one_claim_of_a_wrong_form_is_refused(name, wrong) -> None:
    with pytest.raises(OrderError):
        parse_warrant(a_warrant(**{name: wrong}))


@pytest.mark.parametrize("name", sorted(a_warrant()))
def test_a_warrant_with_a_claim_missing_is_refused(name) -> None:
    claims = a_warrant()
    del claims[name]
    with pytest.raises(OrderError, match=name):
        parse_warrant(claims)


def test_a_warrant_with_a_claim_that_is_not_known_is_refused() -> None:
    with pytest.raises(OrderError, match="extra"):
        parse_warrant(a_warrant(extra=1))


def test_a_warrant_lives_up_to_the_limit_and_not_a_millisecond_longer() -> None:
    limit = 1_000 + WARRANT_TTL_S_MAX * 1000
    assert parse_warrant(a_warrant(exp_ms=limit)).expires_at.tzinfo is UTC
    for exp_ms in (limit + 1, 1_000, 999):
        with pytest.raises(OrderError):
            parse_warrant(a_warrant(exp_ms=exp_ms))


def test_a_time_that_no_calendar_reaches_is_refused() -> None:
    with pytest.raises(OrderError, match="iat_ms"):
        parse_warrant(a_warrant(iat_ms=EPOCH_MAX, exp_ms=EPOCH_MAX))


@pytest.mark.parametrize("name", ["jti", "action"])
@pytest.mark.parametrize(
    "text", ["", "x", str(UUID(int=10**37)).upper(), str(UUID(int=1)) + "\n", "0" * 32]
)
def test_an_id_has_one_form(name, text) -> None:
    assert not is_id(text)
    with pytest.raises(OrderError, match=name):
        parse_warrant(a_warrant(**{name: text}))


def test_limits_of_a_warrant_hold_at_the_limit_and_one_past_it() -> None:
    fits: list[dict[str, object]] = [
        {"agent": "a" * TEXT_CHARS_MAX},
        {"key": "k" * IDEMPOTENCY_KEY_CHARS_MAX},
        {"epochs": {f"s{n}": EPOCH_MAX for n in range(EPOCHS_MAX)}},
    ]
    past: list[dict[str, object]] = [
        {"agent": "a" * (TEXT_CHARS_MAX + 1)},
        {"key": "k" * (IDEMPOTENCY_KEY_CHARS_MAX + 1)},
        {"epochs": {f"s{n}": 0 for n in range(EPOCHS_MAX + 1)}},
        {"epochs": {"s": EPOCH_MAX + 1}},
    ]
    for changes in fits:
        parse_warrant(a_warrant(**changes))
    for changes in past:
        with pytest.raises(OrderError):
            parse_warrant(a_warrant(**changes))


@pytest.mark.parametrize("key", ["a b", "a\r\nX: y", "é", "\x00", "a\x7f"])
def test_an_idempotency_key_cannot_carry_another_header(key) -> None:
    with pytest.raises(OrderError, match="key"):
        parse_warrant(a_warrant(key=key))


@pytest.mark.parametrize("epochs", [{"s": -1}, {"s": True}, {"s": "1"}, {"": None}])
def test_an_epoch_is_a_counting_number(epochs) -> None:
    with pytest.raises(OrderError, match="epochs"):
        parse_warrant(a_warrant(epochs=epochs))


@pytest.mark.parametrize("name", sorted(a_receipt()))
@pytest.mark.parametrize("wrong", [None, 1.5, -1, True, {"": object()}, "\n", [1]])
def test_a_receipt_with_one_claim_of_a_wrong_form_is_refused(name, wrong) -> None:
    with pytest.raises(OrderError):
        parse_receipt(a_receipt(**{name: wrong}))


def test_a_receipt_speaks_of_one_of_three_states() -> None:
    for state in ("not_sent", "sent", "answered"):
        assert parse_receipt(a_receipt(state=state)).state == state
    for state in ("", "void", "Sent"):
        with pytest.raises(OrderError, match="state"):
            parse_receipt(a_receipt(state=state))


def test_limits_of_a_receipt_hold_at_the_limit_and_one_past_it() -> None:
    def sized(extra: int) -> list[dict[str, object]]:
        return [
            {"values": {f"v{n}": 1 for n in range(VALUES_MAX + extra)}},
            {"values": {"v": "x" * (VALUE_CHARS_MAX + extra)}},
            {"values": {"v": EPOCH_MAX + extra}},
            {"requests": [{}] * (REQUESTS_MAX + extra)},
            {"alarms": ["a"] * (ALARMS_MAX + extra)},
            {"nonce": "n" * (NONCE_CHARS_MAX + extra)},
            {"upstream_status": 999 + extra},
        ]

    for changes in sized(0):
        parse_receipt(a_receipt(**changes))
    for changes in sized(1):
        with pytest.raises(OrderError):
            parse_receipt(a_receipt(**changes))


@pytest.mark.parametrize("value", [1.0, 0.5, [], {}, ["a"], 2**53, b"x"])
def test_a_receipt_value_is_a_scalar_without_fractions(value) -> None:
    assert not is_receipt_value(value)
    with pytest.raises(OrderError, match="values"):
        parse_receipt(a_receipt(values={"v": value}))


def test_a_nonce_is_visible_ascii() -> None:
    assert is_nonce("")
    assert is_nonce("n" * NONCE_CHARS_MAX)
    for wrong in ("a b", "é", "\n", None, 1, "n" * (NONCE_CHARS_MAX + 1)):
        assert not is_nonce(wrong)


def test_a_version_7_id_says_when_it_was_made() -> None:
    # Source: RFC 9562, appendix A.6.
    made = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    assert id_time("017f22e2-79b0-7cc3-98c4-dc0c0c07398f") == made
    assert id_time("017f22e2-79b0-4cc3-98c4-dc0c0c07398f") is None
    assert id_time("017F22E2-79B0-7CC3-98C4-DC0C0C07398F") is None


def test_an_error_names_the_claim_and_not_its_value() -> None:
    with pytest.raises(OrderError) as caught:
        parse_warrant(a_warrant(customer="4111-1111\n"))
    assert "customer" in str(caught.value)
    assert "4111" not in str(caught.value)

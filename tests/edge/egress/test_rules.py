"""Rules: what leaves is what was decided, value for value and type for type."""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.core.warrants.template import TARGET_CHARS_MAX, Filling, difference
from broker.edge.egress.rules import (
    REQUEST_BYTES_MAX,
    REQUEST_DEPTH_MAX,
    Allowed,
    Asked,
    Refusal,
    decide,
)
from tests.edge.child import ACTION
from tests.edge.fake_upstream import CUSTOMER
from tests.edge.manifests import REFUND, TOOLS

TOOL = TOOLS["orders.refund"]
BODY: dict[str, Any] = {
    "amount": 500,
    "currency": "USD",
    "customer": CUSTOMER,
    "reference": ACTION,
}

scalars = (
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(-2, 2) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


def filling(**changes: Any) -> Filling:
    return Filling({**REFUND, **changes}, customer=CUSTOMER, action=ACTION)


def post(
    body: Any = None, *, target: str = "/orders/W1/refunds", kind: str = ""
) -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body or BODY).encode()
    return Asked("POST", target, kind or "application/json", data)


def get(target: str) -> Asked:
    return Asked("GET", target, "", b"")


def decided(
    asked: Asked, *, given_: Filling | None = None, used: dict[str, int] | None = None
) -> Allowed | Refusal:
    return decide(asked, tool=TOOL, filling=given_ or filling(), used=used or {})


def refused(asked: Asked, **more: Any) -> str:
    result = decided(asked, **more)
    assert isinstance(result, Refusal), result
    return result.code


def test_the_decided_request_is_allowed_and_sent_in_our_own_words() -> None:
    loose = json.dumps(BODY, indent=3).encode() + b"\n"
    result = decided(post(loose, kind='application/json; charset="UTF-8"'))
    assert isinstance(result, Allowed)
    assert result.request.request_id == "refund"
    assert result.target == "/orders/W1/refunds"
    assert result.body == json.dumps(BODY, separators=(",", ":")).encode()


@given(name=st.sampled_from(sorted(BODY)), value=values)
def test_no_other_value_passes_for_a_decided_one(name, value) -> None:
    assume(difference(BODY[name], value) is not None)
    assert refused(post({**BODY, name: value})) == "rule"


@given(name=st.text(), value=values)
def test_no_field_can_be_added(name, value) -> None:
    assume(name not in BODY)
    assert refused(post({**BODY, name: value})) == "rule"


@pytest.mark.parametrize("name", sorted(BODY))
def test_no_field_can_be_left_out(name) -> None:
    body = {key: value for key, value in BODY.items() if key != name}
    assert refused(post(body)) == "rule"


@pytest.mark.parametrize(
    ("amount", "decided_amount"),
    [
        (b"501", 500),
        (b"500.0", 500),
        (b"5e2", 500),
        (b'"500"', 500),
        (b"[500]", 500),
        (b"true", 1),
        (b"1.0", 1),
        (b"false", 0),
        (b"-0", 0),
        (b"null", 0),
        (b"1", True),
    ],
)
def test_an_amount_keeps_its_type(amount, decided_amount) -> None:
    body = json.dumps({**BODY, "amount": 0}).encode().replace(b": 0", b": " + amount)
    result = decided(post(body), given_=filling(amount=decided_amount))
    # -0 is the integer 0 to a JSON reader, and 0 is what is sent.
    if amount == b"-0":
        assert isinstance(result, Allowed)
        assert json.loads(result.body or b"")["amount"] == 0
    else:
        assert isinstance(result, Refusal)


@given(arguments=st.fixed_dictionaries({"amount": st.integers(1, 10**12)}))
def test_what_leaves_is_the_decision_whatever_was_asked(arguments) -> None:
    body = {**BODY, **arguments}
    result = decided(post(body), given_=filling(**arguments))
    assert isinstance(result, Allowed)
    assert json.loads(result.body or b"") == body


def test_an_optional_argument_is_sent_if_it_was_given_and_only_then() -> None:
    with_note = {**BODY, "note": "n", "lines": ["a", {"b": 1}]}
    given_ = filling(note="n", lines=["a", {"b": 1}])
    assert isinstance(decided(post(with_note), given_=given_), Allowed)
    assert refused(post(with_note)) == "rule"
    assert refused(post(BODY), given_=given_) == "rule"


@pytest.mark.parametrize(
    "target",
    [
        "/orders/W2/refunds",
        "/orders/w1/refunds",
        "/orders/W1/refunds/",
        "/orders/W1//refunds",
        "//orders/W1/refunds",
        "/orders/W1/./refunds",
        "/orders/W2/../W1/refunds",
        "/orders/W1/refunds?",
        "/orders/W1/refunds?a=b",
        "/orders/W1/refunds#x",
        "/orders/%57%31/refunds",
        "/orders/W1%2Frefunds",
        "/orders/W1/%72efunds",
        "/orders/W1;x=y/refunds",
        "/orders/W1%00/refunds",
        "/orders/W1\\refunds",
        "/ORDERS/W1/refunds",
        "/admin",
        "*",
        "",
        "orders/W1/refunds",
        "http://evil.test/orders/W1/refunds",
        "http://crm.test/orders/W1/refunds",
        "evil.test:443",
    ],
)
def test_no_other_target_passes(target) -> None:
    assert refused(post(target=target)) == "rule"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "post"])
def test_no_other_method_passes(method) -> None:
    asked = Asked(method, "/orders/W1/refunds", "application/json", post().body)
    assert refused(asked) == "rule"


def test_a_query_matches_pair_by_pair_in_any_order() -> None:
    given_ = filling(note="a b&c=d+e/é")
    encoded = "a%20b%26c%3Dd%2Be%2F%C3%A9"
    for target in (
        f"/orders/W1?customer={CUSTOMER}&note={encoded}",
        f"/orders/W1?note={encoded.replace('%20', '+')}&customer={CUSTOMER}",
    ):
        result = decided(get(target), given_=given_)
        assert isinstance(result, Allowed), target
        assert result.target == f"/orders/W1?customer={CUSTOMER}&note={encoded}"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?customer=other",
        "?customer=",
        "?customer",
        f"?customer={CUSTOMER}&",
        f"?&customer={CUSTOMER}",
        f"?customer={CUSTOMER}&customer={CUSTOMER}",
        f"?customer={CUSTOMER}&customer=other",
        f"?customer={CUSTOMER}&note=x",
        f"?customer={CUSTOMER};note=x",
        f"?Customer={CUSTOMER}",
        "?customer=%73ofia_li_9219",
        f"?customer={CUSTOMER}%00",
    ],
)
def test_no_other_query_passes(query) -> None:
    assert refused(get(f"/orders/W1{query}")) == "rule"


@pytest.mark.parametrize(
    "value",
    ["../admin", "a/b", "%2e", "", ".", "..", "a\\b", "a;b", "a\r\nb", 1.5, True],
)
def test_a_decided_value_that_could_change_the_path_lets_nothing_out(value) -> None:
    for target in (f"/orders/{value}/refunds", "/orders/..%2Fadmin/refunds"):
        assert refused(post(target=target), given_=filling(order=value)) == "rule"


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json; charset=latin-1", "application/jsonx"]
)
def test_a_body_has_to_be_called_json(kind) -> None:
    asked = Asked("POST", "/orders/W1/refunds", kind, post().body)
    assert refused(asked) == "rule"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b'{"amount":500,"amount":500}',
        json.dumps(BODY).encode() + b"{}",
        json.dumps(BODY).encode() + b"\x00",
        b"\xef\xbb\xbf" + json.dumps(BODY).encode(),
        json.dumps(BODY).encode("utf-16"),
        json.dumps(BODY).encode().replace(b"USD", b"US\xff"),
        json.dumps(BODY).encode().replace(b"500", b"NaN"),
        json.dumps(BODY)[:-1].encode() + b',"amount":500}',
    ],
)
def test_a_body_with_another_meaning_for_somebody_is_refused(body) -> None:
    assert refused(post(body)) == "rule"


def test_a_body_where_none_belongs_is_refused() -> None:
    target = f"/orders/W1?customer={CUSTOMER}"
    assert isinstance(decided(get(target)), Allowed)
    assert refused(Asked("GET", target, "application/json", b"{}")) == "rule"


def test_each_request_has_its_own_budget_and_the_call_has_one() -> None:
    target = f"/orders/W1?customer={CUSTOMER}"
    assert isinstance(decided(get(target), used={"order": 1}), Allowed)
    assert refused(get(target), used={"order": 2}) == "budget"
    assert refused(post(), used={"refund": 1}) == "budget"
    assert isinstance(decided(post(), used={"order": 2}), Allowed)
    assert refused(post(), used={"order": 3}) == "budget"


def test_limits_of_a_request_hold_at_the_limit_and_one_past_it() -> None:
    raw = json.dumps(BODY).encode()
    assert isinstance(decided(post(raw.ljust(REQUEST_BYTES_MAX))), Allowed)
    assert refused(post(raw.ljust(REQUEST_BYTES_MAX + 1))) == "rule"

    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    for extra, allowed in ((0, True), (1, False)):
        lines = nested(REQUEST_DEPTH_MAX - 1 + extra)
        body = {**copy.deepcopy(BODY), "lines": lines}
        result = decided(post(body), given_=filling(lines=lines))
        assert isinstance(result, Allowed) is allowed
    room = TARGET_CHARS_MAX - len(f"/orders/W1?customer={CUSTOMER}&note=")
    for extra, allowed in ((0, True), (1, False)):
        note = "n" * (room + extra)
        target = f"/orders/W1?customer={CUSTOMER}&note={note}"
        result = decided(get(target), given_=filling(note=note))
        assert isinstance(result, Allowed) is allowed


def test_a_refusal_says_where_and_never_what() -> None:
    result = decided(post({**BODY, "amount": 999_999}))
    assert result == Refusal("rule", "rule 'refund': the body differs at '/amount'")
    result = decided(post({**BODY, "card": "4111"}))
    assert isinstance(result, Refusal)
    assert "4111" not in result.detail

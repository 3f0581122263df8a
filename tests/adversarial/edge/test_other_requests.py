"""A hostile connector asks for something else than was decided; it gets nothing.

The requests are well formed. What is compared is the effect: only the decided refund
ever reaches the upstream, at most once, with the decided amount.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.words.warrant import SentState
from tests.edge.child import DROP, plain, refund_body
from tests.edge.fake_upstream import CUSTOMER
from tests.edge.lab import Lab, running_lab
from tests.edge.manifests import REFUND

TARGET = "/orders/W1/refunds"


async def refused(lab: Lab, method: str, target: str, body: Any = None) -> None:
    """Ask on a fresh call, and see that nothing comes of it."""
    order = lab.order()
    child = await lab.call(order)
    answer = await child.ask(method, target, body)
    assert answer is not None
    assert answer.status in {400, 403}, target
    assert await child.hung_up()
    receipt = await lab.receipt(order)
    assert (receipt.state, receipt.alarms) == (SentState.NOT_SENT, ("rule_violation",))
    assert lab.upstream.connections == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 501},
        {"amount": 499},
        {"amount": -500},
        {"amount": "500"},
        {"amount": 500.0},
        {"amount": True},
        {"amount": [500]},
        {"amount": None},
        {"amount": DROP},
        {"currency": "EUR"},
        {"currency": "usd"},
        {"customer": "mei_davis_8935"},
        {"customer": [CUSTOMER]},
        {"customer": DROP},
        {"reference": "0199aaaa-0000-7000-8000-000000000002"},
        {"reference": DROP},
        {"payment_method_id": "attacker_1"},
        {"note": "please"},
        {"lines": []},
        {"__proto__": {}},
        {"": 1},
    ],
    ids=str,
)
async def test_another_amount_customer_or_field_is_not_sent(lab, changes) -> None:
    body = {**refund_body(), **changes}
    body = {name: value for name, value in body.items() if value is not DROP}
    await refused(lab, "POST", TARGET, body)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"amount":500,%s,"amount":99999}',
        b'{"amount":99999,%s,"amount":500}',
        b'{"AMOUNT":99999,"amount":500,%s}',
        b'{"amount":5.0e2,%s}',
        b'{"amount":500,%s}{"amount":99999}',
        b'[{"amount":500,%s}]',
        b'\xef\xbb\xbf{"amount":500,%s}',
    ],
)
async def test_a_body_that_another_reader_would_read_differently_is_not_sent(
    lab, raw
) -> None:
    rest = json.dumps({k: v for k, v in refund_body().items() if k != "amount"})
    await refused(lab, "POST", TARGET, raw.replace(b"%s", rest[1:-1].encode()))


@pytest.mark.control("7.6")
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/orders/W2"),
        ("GET", "/customers/mei_davis_8935"),
        ("GET", "/orders/W1?customer=mei_davis_8935"),
        ("GET", f"/orders/W1?customer={CUSTOMER}&customer=mei_davis_8935"),
        ("GET", "/"),
        ("GET", "/__state"),
        ("DELETE", "/orders/W1"),
        ("PUT", "/orders/W1/refunds"),
        ("POST", "/orders/W2/refunds"),
        ("POST", "/orders/W1/cancel"),
    ],
)
async def test_another_customer_order_or_operation_is_not_reached(
    lab, method, target
) -> None:
    body = refund_body() if method in {"POST", "PUT"} else None
    await refused(lab, method, target, body)


TRAVERSALS = [
    "../admin",
    "..%2fadmin",
    "..%2Fadmin",
    "%2e%2e/admin",
    "%2e%2e%2fadmin",
    "%2E%2E%2Fadmin",
    ".%2e/admin",
    "%252e%252e%252fadmin",
    "..%252fadmin",
    "..%5cadmin",
    "..\\admin",
    "..;/admin",
    "W1/../../admin",
    "W1%00/../admin",
    "W1%0d%0aX:y",
    "W1%23/admin",
    "W1%3f/admin",
    "%c0%ae%c0%ae/admin",
    "%u002e%u002e/admin",
    "//admin",
    "./W1",
    "W1/.",
    "W1/",
    "W1//",
    "W1%2f",
    "W1%20",
    "W1;a=b",
    "W1#",
    "W1.json",
]


@pytest.mark.parametrize("path", TRAVERSALS)
async def test_no_encoding_of_a_path_leads_elsewhere(lab, path) -> None:
    query = f"?customer={CUSTOMER}"
    await refused(lab, "GET", f"/orders/{path}{query}")
    await refused(lab, "POST", f"/orders/{path}/refunds", refund_body())
    await refused(lab, "POST", f"/orders/W1/{path}", refund_body())


@pytest.mark.parametrize(
    "value", ["../admin", "..", "%2e%2e", "W1/refunds", "W1\\x", "W1?x", "W1;x", "W\n1"]
)
async def test_a_decision_with_such_a_value_lets_nothing_out_either(lab, value) -> None:
    order = lab.order(arguments={**REFUND, "order": value})
    for target in (f"/orders/{quote(value, safe='')}/refunds", f"/orders/{value}/x"):
        child = await lab.call(lab.order(arguments=order.arguments))
        try:
            request = plain("POST", target, refund_body())
        except UnicodeEncodeError:
            continue
        await child.send(request)
        answer = await child.read()
        assert answer is not None
        assert answer.status in {400, 403}
    assert lab.upstream.connections == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=4,
)
targets = st.sampled_from(
    [TARGET, "/orders/W1", f"/orders/W1?customer={CUSTOMER}", "/admin", "/orders/W2"]
) | st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.sampled_from([500, 501, 500.0, True]) | json_values,
        "currency": st.sampled_from(["USD", "EUR"]) | json_values,
        "customer": st.just(CUSTOMER) | json_values,
        "reference": st.just(refund_body()["reference"]) | json_values,
        "extra": json_values,
    },
)
requests = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "CONNECT"]),
        targets,
        st.none() | bodies | st.just(refund_body()),
    ),
    max_size=8,
)


@pytest.mark.control("7.6")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=requests, honest=st.booleans())
async def test_whatever_is_asked_only_the_decision_reaches_the_upstream(
    asked, honest
) -> None:
    async with running_lab() as lab:
        order = lab.order()
        child = await lab.call(order)
        data = b"".join(plain(*one) for one in asked)
        if honest:
            data = plain("POST", TARGET, refund_body()) + data
        await child.send(data)
        child.writer.write_eof()
        while await child.read():
            pass
        effects = [seen for seen in lab.upstream.seen if seen.method != "GET"]
        assert len(effects) <= 1
        assert all(seen.target == TARGET for seen in effects)
        assert all(seen.json == refund_body() for seen in effects)
        reads = [seen.target for seen in lab.upstream.seen if seen.method == "GET"]
        assert set(reads) <= {f"/orders/W1?customer={CUSTOMER}"}
        assert len(lab.upstream.seen) <= 3
        receipt = await lab.receipt(order)
        assert (receipt.state is SentState.ANSWERED) == bool(effects)


@pytest.mark.control("7.6")
async def test_before_a_real_crm_no_other_amount_moves(edge, crm) -> None:
    customer = crm.get("/customers/sofia_li_9219").json()
    order_id = customer["order_ids"][0]
    arguments = {
        "order_id": order_id,
        "amount_minor_units": 100,
        "currency": "USD",
        "payment_method_id": next(iter(customer["payment_methods"]), "x"),
    }
    before = crm.state()["digest"]
    for changed in ({"amount_minor_units": 101}, {"currency": "EUR"}, {"more": 1}):
        order = edge.order("orders.refund", arguments, customer_id="sofia_li_9219")
        body = {**arguments, "reference": order.action_id, **changed}
        del body["order_id"]
        child = await edge.call(order)
        answer = await child.ask("POST", f"/orders/{order_id}/refunds", body)
        assert answer.status == 403
    assert crm.state()["digest"] == before
    assert crm.journal() == []

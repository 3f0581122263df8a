"""Every fault does what it says to the wire and to the books."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from infra.democrm import limits
from infra.democrm.faults import FaultKind, Mischief, Switches
from infra.democrm.wire import RequestError
from tests.democrm import orders
from tests.support.crm import Crm, running_crm

REFUND: dict[str, Any] = {"method": "POST", "path_regex": "/refunds$"}


def refund(crm: Crm, *, key: str | None = "k-1") -> httpx.Response:
    return crm.refund(orders.PROCESSED, 100, orders.PROCESSED_METHOD, key=key)


@pytest.mark.parametrize(
    ("kind", "committed"), [("drop_before_commit", 0), ("drop_after_commit", 1)]
)
def test_a_dropped_connection_closes_without_a_byte(
    crm: Crm, kind: str, committed: int
) -> None:
    crm.fault(kind, **REFUND)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        refund(crm)
    assert len(crm.journal()) == committed
    again = refund(crm)
    assert again.status_code == 201
    assert again.headers.get("idempotent-replay") == ("true" if committed else None)
    assert len(crm.journal()) == 1


def test_a_drop_meets_reads_too(crm: Crm) -> None:
    crm.fault("drop_before_commit")
    with pytest.raises(httpx.RemoteProtocolError):
        crm.order(orders.PROCESSED)
    assert crm.order(orders.PROCESSED)["status"] == "processed"


@pytest.mark.parametrize("kind", sorted(FaultKind))
def test_a_fault_is_no_complaint_of_the_process(kind: str) -> None:
    with running_crm() as crm:
        crm.fault(kind, delay_s=0.001, size_bytes=1)
        with contextlib.suppress(httpx.RemoteProtocolError):
            refund(crm)
        crm.stop()
        assert crm.complaints == ""


@pytest.mark.parametrize(
    ("when", "committed"), [("before_commit", 0), ("after_commit", 1)]
)
def test_a_500_comes_before_or_after_the_change(
    crm: Crm, when: str, committed: int
) -> None:
    crm.fault("error_500", **REFUND, when=when)
    response = refund(crm)
    assert (response.status_code, response.json()) == (500, {"error": "internal"})
    assert len(crm.journal()) == committed


@pytest.mark.parametrize(
    ("when", "committed"), [("before_commit", 0), ("after_commit", 1)]
)
def test_a_delay_comes_before_or_after_the_change_and_others_do_not_wait(
    crm: Crm, when: str, committed: int
) -> None:
    crm.fault("delay", **REFUND, delay_s=1.0, when=when)
    with httpx.Client(base_url=crm.url, timeout=0.5, trust_env=False) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.post(
                f"/orders/{orders.PROCESSED}/refunds",
                json={
                    "amount_minor_units": 100,
                    "currency": "USD",
                    "payment_method_id": orders.PROCESSED_METHOD,
                    "reference": "r",
                },
                headers={"Authorization": f"Bearer {crm.credential}"},
            )
        assert len(crm.journal()) == committed
    # The caller is gone, but what was asked is done all the same.
    deadline = time.monotonic() + 10
    while not crm.journal() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(crm.journal()) == 1


def test_a_huge_body_is_as_long_as_told_and_does_not_say_so(crm: Crm) -> None:
    crm.fault("huge_body", **REFUND, size_bytes=3_000_001)
    response = refund(crm)
    assert response.status_code == 201
    assert "content-length" not in response.headers
    body = response.json()
    assert len(body.pop("padding")) == 3_000_001
    assert body == refund(crm).json()


def test_a_slow_body_comes_byte_by_byte(crm: Crm) -> None:
    fast = crm.get("/orders/W0000000").content
    crm.fault("slow_body", delay_s=0.02)
    start = time.monotonic()
    slow = crm.get("/orders/W0000000")
    assert time.monotonic() - start >= 0.02 * len(fast)
    assert slow.content == fast


def test_a_redirect_points_elsewhere_and_does_nothing(crm: Crm) -> None:
    crm.fault("redirect", **REFUND, location="http://192.0.2.1/collect")
    response = refund(crm)
    assert response.status_code == 307
    assert response.headers["location"] == "http://192.0.2.1/collect"
    assert crm.journal() == []


def test_the_credential_is_echoed_in_body_and_headers(crm: Crm) -> None:
    crm.fault("echo_credential", path_regex=orders.PROCESSED)
    response = crm.get(f"/orders/{orders.PROCESSED}")
    shown = f"Bearer {crm.credential}"
    assert response.json()["debug"] == {"authorization": shown}
    assert response.headers["x-debug-authorization"] == shown
    assert crm.credential not in crm.get(f"/orders/{orders.PROCESSED}").text


def test_more_is_reported_than_was_asked_and_the_books_are_right(crm: Crm) -> None:
    crm.fault("overreport", extra_minor_units=7, times=2)
    told = refund(crm).json()
    assert (told["amount_minor_units"], told["refunded_minor_units"]) == (107, 107)
    assert told["paid_minor_units"] == orders.PROCESSED_PAID
    (listed,) = crm.get(f"/orders/{orders.PROCESSED}/refunds").json()["refunds"]
    assert listed["amount_minor_units"] == 107
    assert crm.journal()[0]["amount_minor_units"] == 100
    assert crm.order(orders.PROCESSED)["refunded_minor_units"] == 100
    assert refund(crm).json()["amount_minor_units"] == 100


def test_a_fault_meets_only_what_it_is_for_and_only_so_often(crm: Crm) -> None:
    crm.fault("error_500", **REFUND, times=2)
    assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 200
    assert crm.get(f"/orders/{orders.PROCESSED}/refunds").status_code == 200
    assert [refund(crm).status_code for _ in range(3)] == [500, 500, 201]


def test_a_fault_without_end_ends_when_it_is_taken_away(crm: Crm) -> None:
    crm.fault("error_500", times=None)
    paths = [f"/orders/{orders.PROCESSED}"] * 20
    assert {crm.get(path).status_code for path in paths} == {500}
    crm.no_faults()
    assert crm.get(paths[0]).status_code == 200


def test_faults_meet_neither_health_nor_control_nor_strangers(crm: Crm) -> None:
    crm.fault("error_500", times=1)
    assert crm.client.get("/healthz").status_code == 200
    assert crm.control("GET", "/__state").status_code == 200
    assert crm.client.get(f"/orders/{orders.PROCESSED}").status_code == 401
    assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 500


def test_the_first_fault_that_meets_a_call_is_used(crm: Crm) -> None:
    faults = [
        {"fault": "error_500", "match": {"path_regex": "/products/"}},
        {"fault": "redirect"},
        {"fault": "error_500"},
    ]
    crm.control("PUT", "/__faults", {"faults": faults})
    path = f"/orders/{orders.PROCESSED}"
    assert [crm.get(path).status_code for _ in range(3)] == [307, 500, 200]
    left = crm.control("GET", "/__faults").json()["faults"]
    assert [fault["match"]["path_regex"] for fault in left] == ["/products/"]


def mischief() -> Mischief:
    return Mischief(Switches(idempotency_ttl_s=60))


def test_what_is_in_force_can_be_sent_again() -> None:
    ours = mischief()
    ours.put({"faults": [{"fault": kind, "times": None} for kind in FaultKind]})
    ours.put({"switches": {"refuse_over_refund": False}})
    theirs = mischief()
    theirs.put(ours.view())
    assert theirs.view() == ours.view()
    assert len(theirs.view()["faults"]) == len(FaultKind)  # type: ignore[arg-type]


def test_the_short_form_is_one_fault_and_any_switches() -> None:
    ours, theirs = mischief(), mischief()
    match = {"method": "POST", "path_regex": "x"}
    ours.put(
        {"match": match, "fault": "delay", "times": 3, "refuse_over_refund": False}
    )
    theirs.put(
        {
            "faults": [{"match": match, "fault": "delay", "times": 3}],
            "switches": {"refuse_over_refund": False},
        }
    )
    assert ours.view() == theirs.view()
    ours.put({"idempotency_ttl_s": 0})
    assert ours.switches.idempotency_ttl_s == 0
    assert ours.view()["faults"] == theirs.view()["faults"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"faults": {}}, "/faults"),
        ({"faults": [1]}, "/faults/0"),
        ({"faults": [{}]}, "/faults/0/fault"),
        ({"faults": [{"fault": "meteor"}]}, "/faults/0/fault"),
        ({"faults": [{"fault": "delay", "x": 1}]}, "/faults/0"),
        ({"fault": "delay", "times": 0}, "/times"),
        ({"fault": "delay", "times": True}, "/times"),
        ({"fault": "delay", "when": "later"}, "/when"),
        ({"fault": "delay", "delay_s": -1}, "/delay_s"),
        ({"fault": "delay", "delay_s": float("inf")}, "/delay_s"),
        ({"fault": "delay", "match": {"method": "get"}}, "/match/method"),
        ({"fault": "delay", "match": {"path_regex": "("}}, "/match/path_regex"),
        ({"fault": "delay", "match": {"host": "x"}}, "/match"),
        ({"fault": "redirect", "location": "x\r\nSet-Cookie: y"}, "/location"),
        ({"switches": {"refuse_everything": True}}, "/switches"),
        ({"refuse_over_refund": 0}, "/refuse_over_refund"),
        ({"idempotency_ttl_s": -1}, "/idempotency_ttl_s"),
        ({"nothing": 1}, ""),
    ],
)
def test_a_fault_that_is_not_understood_changes_nothing(
    body: dict[str, object], field: str
) -> None:
    ours = mischief()
    ours.put({"fault": "redirect"})
    before = ours.view()
    with pytest.raises(RequestError) as caught:
        ours.put({"refuse_other_payment_method": False, **body})
    assert isinstance(caught.value.answer.body, dict)
    assert caught.value.answer.body["field"] == field
    assert ours.view() == before


def one(**fields: Any) -> dict[str, object]:
    return {"fault": "delay", **fields}


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (lambda n: one(times=n), limits.FAULT_TIMES_MAX),
        (lambda n: one(delay_s=n), limits.FAULT_DELAY_S_MAX),
        (lambda n: one(size_bytes=n), limits.FAULT_BODY_BYTES_MAX),
        (lambda n: one(extra_minor_units=n), limits.AMOUNT_MINOR_UNITS_MAX),
        (lambda n: one(location="x" * n), limits.FAULT_TEXT_CHARS_MAX),
        (lambda n: one(match={"path_regex": "x" * n}), limits.FAULT_TEXT_CHARS_MAX),
        (lambda n: {"faults": [one()] * n}, limits.FAULTS_MAX),
        (lambda n: {"idempotency_ttl_s": n}, limits.IDEMPOTENCY_TTL_S_MAX),
    ],
)
def test_a_fault_is_taken_at_its_limits_and_refused_one_past_them(
    body: Callable[[Any], dict[str, object]], most: Any
) -> None:
    mischief().put(body(most))
    with pytest.raises(RequestError):
        mischief().put(body(most + 1))

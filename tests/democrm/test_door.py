"""Who is let in, and what is there to be let in to."""

import socket
import time
from contextlib import ExitStack

import httpx
import pytest

from infra.democrm.limits import CONNECTIONS_MAX, HEADER_BYTES_MAX
from tests.democrm import orders
from tests.support.crm import Crm, running_crm

API = [
    ("POST", "/customers/find"),
    ("GET", f"/customers/{orders.PROCESSED_CUSTOMER}"),
    ("GET", f"/customers/{orders.PROCESSED_CUSTOMER}/replies"),
    ("POST", f"/customers/{orders.PROCESSED_CUSTOMER}/replies"),
    ("GET", f"/orders/{orders.PROCESSED}"),
    ("POST", f"/orders/{orders.PENDING}/cancel"),
    ("GET", f"/orders/{orders.PROCESSED}/refunds"),
    ("POST", f"/orders/{orders.PROCESSED}/refunds"),
    ("POST", f"/orders/{orders.PROCESSED}/notes"),
    ("GET", "/products/9523456873"),
]
CONTROL = [
    ("GET", "/__state"),
    ("GET", "/__journal"),
    ("POST", "/__reset"),
    ("GET", "/__faults"),
    ("PUT", "/__faults"),
]


def ask(crm: Crm, method: str, path: str, *shown: str) -> int:
    """Return the status that a caller with these Authorization headers gets."""
    headers = [("Authorization", value) for value in shown]
    return crm.client.request(method, path, json={}, headers=headers).status_code


@pytest.mark.parametrize(("method", "path"), [*API, ("GET", "/nowhere")])
def test_nothing_is_open_without_the_credential(
    crm: Crm, method: str, path: str
) -> None:
    good = f"Bearer {crm.credential}"
    wrong = [
        (),
        ("",),
        ("Bearer",),
        (crm.credential,),
        (f"Basic {crm.credential}",),
        (good[:-1],),
        (good + "x",),
        (good.upper(),),
        (f"Bearer {crm.control_credential}",),
        (good, good),
    ]
    assert {ask(crm, method, path, *shown) for shown in wrong} == {401}
    assert ask(crm, method, path, good) != 401
    assert ask(crm, method, path, good.replace("Bearer", "bearer")) != 401


@pytest.mark.parametrize(("method", "path"), CONTROL)
def test_control_needs_a_credential_of_its_own(
    crm: Crm, method: str, path: str
) -> None:
    assert ask(crm, method, path) == 401
    assert ask(crm, method, path, f"Bearer {crm.credential}") == 401
    assert ask(crm, method, path.replace("_", "%5F"), f"Bearer {crm.credential}") == 401
    assert ask(crm, method, path, f"Bearer {crm.control_credential}") == 200


def test_without_a_control_credential_there_is_no_control() -> None:
    with running_crm(COUNTERFOIL_CRM_CONTROL_FILE="") as crm:
        for method, path in CONTROL:
            for credential in (crm.credential, crm.control_credential):
                assert ask(crm, method, path, f"Bearer {credential}") == 401
        assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 200


def test_health_is_open_to_all(crm: Crm) -> None:
    response = crm.client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_refused_caller_with_a_large_body_hears_it_too(crm: Crm) -> None:
    path = f"/orders/{orders.PROCESSED}/notes"
    for _ in range(5):
        response = crm.client.post(path, content=b"x" * 5_000_000)
        assert response.status_code == 401
    assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 200


def test_a_refused_caller_is_told_how_and_nothing_else(crm: Crm) -> None:
    response = crm.client.get(f"/orders/{orders.PROCESSED}")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {"error": "unauthorized"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", f"/orders/{orders.PROCESSED}", 405),
        ("GET", "/customers/find/x", 404),
        ("GET", f"/orders/{orders.PROCESSED}/", 404),
        ("GET", f"/orders/{orders.PROCESSED}/cancel", 405),
        ("GET", "/orders//refunds", 404),
        ("GET", "/orders/..%2F__state", 404),
        ("GET", "/%00", 404),
        ("GET", "/", 404),
    ],
)
def test_what_is_not_in_the_table_is_404_or_405(
    crm: Crm, method: str, path: str, status: int
) -> None:
    assert ask(crm, method, path, f"Bearer {crm.credential}") == status


def test_connections_are_kept_alive(crm: Crm) -> None:
    first = crm.get(f"/orders/{orders.PROCESSED}")
    second = crm.get(f"/orders/{orders.PENDING}")
    streams = [
        response.extensions["network_stream"].get_extra_info("client_addr")
        for response in (first, second)
    ]
    assert streams[0] == streams[1]


def test_an_answer_does_not_wait_for_the_callers_acknowledgement(crm: Crm) -> None:
    def span_s() -> float:
        start = time.monotonic()
        crm.client.get("/healthz")
        return time.monotonic() - start

    # Without TCP_NODELAY every answer takes the 40 ms of a delayed acknowledgement; the
    # best of many is far below, however busy the machine is.
    assert min(span_s() for _ in range(20)) < 0.03


def test_headers_are_taken_at_their_limit_and_refused_one_past_it(crm: Crm) -> None:
    path, host = "/healthz", "x"
    port = httpx.URL(crm.url).port
    assert port is not None
    used = len(path + "host" + host + "connection" + "close" + "pad")

    def status(pad: int) -> bytes:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"{head}Pad: {'x' * pad}\r\n\r\n".encode())
            return connection.recv(64).split(b" ")[1]

    assert status(HEADER_BYTES_MAX - used) == b"200"
    assert status(HEADER_BYTES_MAX - used + 1) == b"431"


def test_one_connection_too_many_is_told_to_wait() -> None:
    # A process of its own: connections that other tests keep alive would count.
    with running_crm() as crm, ExitStack() as open_now:
        crm.client.close()
        port = httpx.URL(crm.url).port
        assert port is not None

        def status() -> bytes:
            connection = open_now.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=10)
            )
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(64).split(b" ")[1]

        assert {status() for _ in range(CONNECTIONS_MAX)} == {b"200"}
        assert status() == b"503"

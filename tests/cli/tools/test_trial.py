"""`counterfoil tools test`: the real sandbox, the real rules, and nothing sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from broker.cli.exits import Exit
from broker.cli.tools import trial
from broker.edge.trial import __main__ as edge
from broker.registry.kit.samples import sample_answer, sample_arguments
from tests.cli.tools.conftest import Shell
from tests.registry.kit.test_lint import refund
from tests.support.cases import tool
from tests.support.kit.trial import tried

REFUND = json.dumps(
    {
        "order_id": "W0000001",
        "amount_minor_units": 500,
        "currency": "USD",
        "payment_method_id": "paypal_1234567",
    }
)


def test_what_would_be_sent_read_and_released_is_shown():
    done = tried("orders.refund", json.loads(REFUND), "--customer", "sofia")
    (request,) = done["requests"]
    assert done["sent"] == ["POST /orders/W0000001/refunds"]
    assert request["body"]["amount_minor_units"] == 500
    assert done["receipt"]["owner"] == "sofia"
    assert done["receipt"]["amount"] == 500
    assert "paid_minor_units" not in done["released"]
    assert set(done["released"]) <= {"refund_id", "amount_minor_units"} | {
        "currency",
        "status",
    }


def test_a_connector_that_asks_for_something_else_is_refused_as_at_the_edge(
    shell: Shell,
):
    path = shell.catalog / "retail" / "connector.py"
    text = path.read_text().replace('f"/orders/{order_id}/refunds"', '"/admin"')
    path.write_text(text)
    said = shell.say("test", "orders.refund", "--arguments", REFUND, code=Exit.FAILED)
    assert "refused    rule 'refund': the path differs" in said
    assert "sent  " not in said


def test_a_stated_upstream_is_asked_with_its_credential_once_confirmed(shell: Shell):
    seen: list[tuple[str, str]] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            body = json.dumps({"customer_id": "sofia", "order_id": "W0000001"})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        secret = shell.catalog.parent / "secret"
        secret.write_text("canary\n")
        try:
            said = shell.say(
                *("test", "orders.get", "--arguments", '{"order_id": "W0000001"}'),
                *("--upstream", f"http://127.0.0.1:{server.server_port}"),
                *("--credential-file", str(secret)),
            )
        finally:
            server.shutdown()
            thread.join()
    assert seen == [("/orders/W0000001", "Bearer canary")]
    assert "receipt    owner = sofia" in said
    assert "canary" not in said


def test_what_waits_for_a_person_is_tried_against_a_stub_alone(shell: Shell):
    tests = str(shell.catalog.parent / "tests")
    shell.say("new", "crm/things.get", "--tests", tests)
    words = ("test", "things.get", "--arguments", '{"thing_id": "T1"}')
    said = shell.say(*words, "--upstream", "http://127.0.0.1:9", code=Exit.FAILED)
    assert "waits for a person" in said
    assert "sent       GET /things/T1" in shell.say(*words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--arguments", "{"), "no JSON"),
        (("--arguments", '{"order_id": "1"}'), "does not match"),
        (("--arguments", "[]"), "is not of type 'object'"),
        ((), "cannot be made up"),
    ],
)
def test_arguments_are_those_that_the_broker_would_take(shell: Shell, words, says):
    assert says in shell.say("test", "orders.get", *words, code=Exit.USAGE)


def test_a_broken_manifest_is_not_tried(shell: Shell):
    shell.change("orders.get", "[egress]", "[egress]\nwrong = 1")
    assert "unknown field 'wrong'" in shell.say("test", "orders.get", code=Exit.FAILED)


def test_answers_and_arguments_are_made_up_from_the_manifest():
    arguments = {"order_id": "W0000001", "amount_minor_units": 7, "currency": "USD"}
    made = sample_answer(tool("orders.refund"), arguments, customer="sofia")
    assert made["customer_id"] == "sofia"
    assert (made["order_id"], made["amount_minor_units"]) == ("W0000001", 7)
    made = sample_answer(tool("orders.get"), arguments, customer="sofia")
    assert made["notes"][0]["text"] == "Somebody's text."
    schema = refund()["arguments"]
    assert sample_arguments(schema) is None
    schema["properties"]["order_id"] = {"type": "string", "minLength": 9}
    assert sample_arguments(schema) == {
        "order_id": "textxxxxx",
        "amount_minor_units": 1,
        "currency": "USD",
    }


def test_frames_and_waiting_have_limits():
    assert trial.FRAME_BYTES_MAX >= edge.FRAME_BYTES_MAX
    assert trial.ANSWER_S_MAX > edge.UPSTREAM_S_MAX
    assert trial.START_S_MAX > 0

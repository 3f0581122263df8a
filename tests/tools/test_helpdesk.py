"""The help desk's imported tools, through runner and edge, to the help desk itself."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.core.execute import release
from broker.edge.identity import write_secret
from infra.helpdesk.app import KEY_CHARS_MAX
from infra.helpdesk.books import COMMENTS_SHOWN_MAX, TICKETS_SHOWN_MAX
from tests.edge.lab import signed
from tests.edge.process import CATALOG, MANIFESTS, make_edge
from tests.support.fake_edge import RunnerClient
from tests.support.kit.helpdesk import HelpDesk, helpdesk, helpdesk_process
from tests.tools.test_executor import Executor
from tools.dispatcher import Dispatcher
from tools.settings import Settings

__all__ = ["helpdesk", "helpdesk_process"]

SOFIA = "sofia_li_9219"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("x")


@pytest.fixture
async def executor(
    folder: Path, pg_edge_dsn: str, helpdesk: HelpDesk
) -> AsyncIterator[Executor]:
    edge = make_edge(folder, database=pg_edge_dsn)
    secret = folder / "secret"
    write_secret(secret, helpdesk.credential.encode())
    words = ("credentials", "add", "--connector", "helpdesk", "--allow-private")
    for command in (
        ("init",),
        (*words, "--base-url", helpdesk.url, "--value-file", str(secret)),
    ):
        done = edge.command(*command)
        assert done.returncode == 0, done.stderr
    dispatcher = Dispatcher(
        Settings(
            runner_socket=folder / "runner.sock",
            edge_socket=edge.socket,
            catalog=CATALOG,
        )
    )
    try:
        await edge.start()
        await dispatcher.start()
        client = await RunnerClient.connect(folder / "runner.sock")
        yield Executor(edge, client)
        client.close()
    finally:
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)


def shown(tool: str, result: dict[str, Any]) -> set[tuple[str, Any]]:
    """Return the objects that a result shows, as later calls may name them."""
    released = release(MANIFESTS[tool], result)
    return {(one.field.shows, one.value) for one in released.values if one.field.shows}


async def test_tickets_are_found_read_and_answered_once(
    executor: Executor, helpdesk: HelpDesk
):
    answer, receipt = await executor.call("tickets.list", SOFIA, status="open")
    (ticket,) = answer["result"]["tickets"]
    assert receipt.values["owner"] == SOFIA
    assert ("ticket", ticket["id"]) in shown("tickets.list", answer["result"])
    answer, receipt = await executor.call("tickets.get", ticket_id=ticket["id"])
    assert receipt.values["object"] == ticket["id"]
    assert answer["result"]["ticket"]["subject"] == "Where is my bicycle?"

    arguments = {"ticket_id": ticket["id"], "body": "It is on its way."}
    order = executor.edge.order("tickets.comments.create", arguments, customer_id=SOFIA)
    answer, receipt = await executor.run(order)
    assert (receipt.upstream_status, receipt.values["owner"]) == (201, SOFIA)
    assert answer["result"]["comment"]["body"] == "It is on its way."
    (entry,) = helpdesk.journal()
    assert (entry["what"], entry["key"]) == ("comment.create", order.idempotency_key)
    # A warrant is spent: shown again, it sends nothing.
    again = await executor.client.run(signed(order))
    assert again["error"]["code"] == "edge_refused"
    answer, _ = await executor.call("tickets.comments.list", ticket_id=ticket["id"])
    (comment,) = answer["result"]["comments"]
    assert comment["body"] == "It is on its way."
    assert len(helpdesk.journal()) == 1

    others = helpdesk.ask("GET", "/users/noah_brown_6181/tickets").json()["tickets"]
    _, receipt = await executor.call("tickets.get", SOFIA, ticket_id=others[0]["id"])
    # The broker compares; the edge says whose it was, whatever the connector says.
    assert receipt.values["owner"] == "noah_brown_6181"


async def test_every_other_tool_does_what_its_name_says(
    executor: Executor, helpdesk: HelpDesk
):
    given = {"subject": "Bell", "description": "It rings.", "priority": "low"}
    answer, receipt = await executor.call("tickets.create", SOFIA, **given)
    made = answer["result"]["ticket"]
    assert (receipt.values["owner"], made["priority"]) == (SOFIA, "low")
    ticket = {"ticket_id": made["id"]}
    answer, _ = await executor.call("tickets.update", SOFIA, **ticket, status="pending")
    assert answer["result"]["ticket"]["status"] == "pending"
    answer, receipt = await executor.call("macros.list", "")
    assert receipt.upstream_status == 200
    macros = shown("macros.list", answer["result"])
    assert ("macro", 2) in macros
    answer, receipt = await executor.call(
        "tickets.macros.apply", SOFIA, **ticket, macro_id=2
    )
    assert receipt.values["status"] == "solved"
    whats = [entry["what"] for entry in helpdesk.journal()]
    assert whats == ["ticket.create", "ticket.update", "macro.apply"]

    await executor.call("tickets.update", SOFIA, **ticket, status="closed")
    answer, receipt = await executor.call(
        "tickets.comments.create", SOFIA, **ticket, body="Hello?"
    )
    assert answer["error"]["detail"] == "upstream_refused: answered 409"
    refused = MANIFESTS["tickets.comments.create"].request("request").refused
    assert receipt.upstream_status in refused
    assert len(helpdesk.journal()) == len(whats) + 1


def test_the_help_desk_does_a_keyed_change_once(helpdesk: HelpDesk):
    body = {"comment": {"body": "Once.", "public": True}}
    first = helpdesk.ask("POST", "/tickets/1/comments", body=body, key="k")
    again = helpdesk.ask("POST", "/tickets/1/comments", body=body, key="k")
    assert (first.status_code, first.json()) == (201, again.json())
    body["comment"]["body"] = "Other."
    other = helpdesk.ask("POST", "/tickets/1/comments", body=body, key="k")
    assert (other.status_code, other.json()) == (409, {"error": "key_reused"})
    assert len(helpdesk.journal()) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/tickets/1/comments", {"comment": {"body": "x"}}, 422),
        ("POST", "/tickets/1/comments", {"comment": {"body": "", "public": True}}, 422),
        ("PUT", "/tickets/1", {"ticket": {"status": "gone"}}, 422),
        ("PUT", "/tickets/99", {"ticket": {"status": "open"}}, 404),
        ("PUT", "/tickets/x", {"ticket": {"status": "open"}}, 404),
        ("POST", "/tickets", {"ticket": {"subject": "x"}}, 422),
        ("POST", "/tickets/1/macros/9/apply", None, 404),
        ("GET", "/tickets/99", None, 404),
        ("GET", "/users/a%20b/tickets", None, 404),
    ],
)
def test_the_help_desk_refuses_what_its_description_does_not_allow(
    helpdesk: HelpDesk, method, path, body, status
):
    assert helpdesk.ask(method, path, body=body).status_code == status
    assert helpdesk.journal() == []


def test_the_help_desk_answers_nobody_without_its_credential(helpdesk: HelpDesk):
    helpdesk_credential, helpdesk.credential = helpdesk.credential, "other"
    assert helpdesk.ask("GET", "/macros").status_code == 401
    helpdesk.credential = helpdesk_credential
    assert helpdesk.ask("GET", "/macros").status_code == 200


def test_the_help_desk_has_limits(helpdesk: HelpDesk):
    body = {"comment": {"body": "x", "public": True}}
    for number in range(COMMENTS_SHOWN_MAX + 1):
        helpdesk.ask("POST", "/tickets/1/comments", body=body, key=f"k{number}")
    shown = helpdesk.ask("GET", "/tickets/1/comments").json()["comments"]
    assert len(shown) == COMMENTS_SHOWN_MAX
    ticket = {"requester_id": "somebody", "subject": "s", "description": "d"}
    for _ in range(TICKETS_SHOWN_MAX + 1):
        helpdesk.ask("POST", "/tickets", body={"ticket": ticket})
    shown = helpdesk.ask("GET", "/users/somebody/tickets").json()["tickets"]
    assert len(shown) == TICKETS_SHOWN_MAX
    key = "k" * KEY_CHARS_MAX
    path = "/tickets/1/comments"
    assert helpdesk.ask("POST", path, body=body, key=key).status_code == 201
    assert helpdesk.ask("POST", path, body=body, key=f"{key}k").status_code == 422

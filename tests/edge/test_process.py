"""The edge as a process: before a real database, a real CRM, and its own death."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.core.words.warrant import SentState
from broker.edge.__main__ import PURGE_EVERY_S, START_S_MAX
from broker.edge.journal import read_records
from tests.edge.lab import ROOT
from tests.edge.process import STRACE, make_edge
from tests.support.crm import Crm

SOFIA = "sofia_li_9219"


def refundable(crm: Crm) -> tuple[str, str]:
    """Return an order of Sofia's with something left to refund, and where it may go."""
    customer = crm.get(f"/customers/{SOFIA}").json()
    for order_id in customer["order_ids"]:
        order = crm.order(order_id)
        if order["paid_minor_units"] - order["refunded_minor_units"] > 1_000:
            return order_id, order["payments"][0]["payment_method_id"]
    raise AssertionError(customer)


def a_refund(edge, crm: Crm, *, amount: int = 700):
    """Return a warrant for a refund, and the target and body that it decides."""
    order_id, method = refundable(crm)
    arguments = {
        "order_id": order_id,
        "amount_minor_units": amount,
        "currency": "USD",
        "payment_method_id": method,
    }
    order = edge.order("orders.refund", arguments, customer_id=SOFIA)
    body = {**arguments, "reference": order.action_id}
    del body["order_id"]
    return order, f"/orders/{order_id}/refunds", body


def amounts(crm: Crm) -> list[int]:
    return [entry["amount_minor_units"] for entry in crm.journal()]


async def test_a_refund_moves_money_once_and_the_receipt_says_how_much(
    edge, crm
) -> None:
    order, target, body = a_refund(edge, crm)
    child = await edge.call(order)
    assert (await child.ask("POST", target, body)).status == 201
    child.close()
    receipt = await edge.receipt(order)
    assert receipt.state is SentState.ANSWERED
    assert (receipt.values["amount"], receipt.values["owner"]) == (700, SOFIA)
    assert amounts(crm) == [700]
    again, _ = await edge.show(order)
    assert again["error"]["code"] == "warrant_spent"


async def test_every_retail_tool_goes_through_with_its_own_manifest(edge, crm) -> None:
    order_id, _ = refundable(crm)
    email = crm.get(f"/customers/{SOFIA}").json()["email"]
    for tool, arguments, customer, method, target, body in (
        ("customers.verify", {"email": email}, "", "POST", "/customers/find",
         {"email": email}),
        ("customers.get", {}, SOFIA, "GET", f"/customers/{SOFIA}", None),
        ("orders.get", {"order_id": order_id}, SOFIA, "GET", f"/orders/{order_id}",
         None),
    ):  # fmt: skip
        order = edge.order(tool, arguments, customer_id=customer)
        child = await edge.call(order)
        assert (await child.ask(method, target, body)).status == 200, tool
        receipt = await edge.receipt(order)
        assert receipt.values["owner"] == SOFIA
        assert receipt.alarms == ()
    order = edge.order("answers.send", {"text": "Sent."}, customer_id=SOFIA)
    child = await edge.call(order)
    body = {"channel": "chat", "text": "Sent.", "reference": order.action_id}
    answer = await child.ask("POST", f"/customers/{SOFIA}/replies", body)
    assert answer.status == 201
    assert [reply["text"] for reply in crm.replies(SOFIA)] == ["Sent."]


async def test_kill_9_between_sent_and_answered_leaves_it_sent(edge, crm) -> None:
    crm.fault("delay", delay_s=2.0, when="after_commit", path_regex="/refunds$")
    order, target, body = a_refund(edge, crm)
    child = await edge.call(order)
    asking = asyncio.create_task(child.ask("POST", target, body))
    for _ in range(200):
        if amounts(crm):
            break
        await asyncio.sleep(0.01)
    edge.stop(signal.SIGKILL)
    assert await asking is None
    await edge.start()
    receipt = await edge.ask(order)
    assert receipt.state is SentState.SENT
    assert receipt.upstream_status == 0
    # The upstream took it all the same: "sent" is the word that did not lie.
    assert amounts(crm) == [700]
    journal = edge.state / "edge" / "journal"
    assert [record["k"] for record in read_records(journal)] == ["begin", "sent"]


async def test_kill_9_before_anything_was_sent_leaves_it_unsent(edge, crm) -> None:
    order, _, _ = a_refund(edge, crm)
    await edge.call(order)
    boot = edge.hello.boot
    edge.stop(signal.SIGKILL)
    await edge.start()
    assert edge.hello.boot != boot
    # The new process does not take the old one's warrant.
    answer, _ = await edge.show(order)
    assert answer["error"]["code"] == "wrong_edge"
    receipt = await edge.ask(order)
    assert receipt.state is SentState.NOT_SENT
    assert amounts(crm) == []


async def test_kill_9_after_the_answer_keeps_the_answer(edge, crm) -> None:
    order, target, body = a_refund(edge, crm)
    child = await edge.call(order)
    assert (await child.ask("POST", target, body)).status == 201
    before = await edge.receipt(order)
    edge.stop(signal.SIGKILL)
    await edge.start()
    after = await edge.ask(order)
    assert after.state is SentState.ANSWERED
    assert after.values == before.values
    assert after.requests == before.requests


@pytest.mark.control("7.3")
async def test_a_committed_revocation_stops_the_next_warrant(edge, crm, pg_dsn) -> None:
    owner = await asyncpg.connect(pg_dsn)
    await owner.execute(
        "INSERT INTO revocation_epoch (scope, epoch) VALUES ('agent:agent-1', 1)"
    )
    await owner.close()
    order, _, _ = a_refund(edge, crm)
    answer, _ = await edge.show(order)
    assert answer["error"]["code"] == "revoked"


async def test_the_journal_is_synced_before_the_upstream_is_dialled(edge, crm) -> None:
    assert shutil.which(STRACE), "strace is needed to see the order of system calls"
    edge.stop()
    trace = edge.folder / "trace"
    calls = "trace=fsync,fdatasync,connect"
    edge.prefix = (STRACE, "-f", "-y", "-e", calls, "-o", str(trace))
    await edge.start()
    order, target, body = a_refund(edge, crm)
    child = await edge.call(order)
    before = len(trace.read_text().splitlines())
    assert (await child.ask("POST", target, body)).status == 201
    assert edge.stop() == 0
    seen = trace.read_text().splitlines()[before:]
    port = crm.url.rsplit(":", 1)[1]
    [dialled] = [n for n, line in enumerate(seen) if f"htons({port})" in line]
    synced = [n for n, line in enumerate(seen) if "fdatasync" in line and "= 0" in line]
    assert synced[0] < dialled, "\n".join(seen)


async def test_a_second_edge_on_the_same_state_does_not_start(edge) -> None:
    done = edge.command()
    assert done.returncode == 1
    assert b"another edge runs" in done.stderr


async def test_the_edge_ends_in_good_order_and_takes_its_socket_with_it(edge) -> None:
    assert edge.socket.stat().st_mode & 0o777 == 0o600
    assert edge.stop() == 0
    assert not edge.socket.exists()
    assert START_S_MAX < PURGE_EVERY_S


async def test_init_makes_keys_without_a_database_and_changes_nothing_twice(
    own_folder,
) -> None:
    made = make_edge(own_folder, database="postgresql://cf_edge:x@/x?host=/nowhere")
    own = [f"edge/{name}" for name in ("edge.json", "receipt.jwk", "vault.kek")]
    files = [*own, "edge/journal/00000001.log", "public/edge/receipt.jwk"]
    seen = []
    for _ in range(2):
        done = made.command("init")
        assert done.returncode == 0, done.stderr
        seen.append([(made.state / name).read_bytes() for name in files])
    assert seen[0] == seen[1]


async def test_a_missing_setting_is_named_and_the_edge_does_not_start(edge) -> None:
    edge.stop()
    del edge.environ["COUNTERFOIL_STATE"]
    done = edge.command()
    assert (done.returncode, b"COUNTERFOIL_STATE" in done.stderr) == (1, True)


PROBE_OF_HARDENING = """
import ctypes, resource, os
from broker.edge.__main__ import harden
harden()
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(dumpable, resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""

PROBE_OF_PEERS = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
sys.stdout.write(repr(peer.recv(10)))
"""


def probed(code: str, *argv: str, **how: Any) -> str:
    """Run a few lines in a process of their own and return what they say."""
    python = how.pop("python", sys.executable)
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [python, "-c", code, *argv],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        **{"cwd": ROOT, "env": {"PYTHONPATH": str(ROOT)}, **how},
    )
    return done.stdout.strip()


async def test_the_edges_memory_is_kept_from_dumps_and_from_its_own_user(edge) -> None:
    assert probed(PROBE_OF_HARDENING) == "0 (0, 0) 0o77"
    limits = read(f"/proc/{edge.pid}/limits")
    assert re.search(r"Max core file size +0 +0", limits)


def read(path: str) -> str:
    return Path(path).read_text()


async def test_a_log_line_tells_of_a_request_without_its_content(edge, crm) -> None:
    order, target, body = a_refund(edge, crm)
    child = await edge.call(order)
    await child.ask("POST", target, body)
    lines = [json.loads(line) for line in edge.log.read_text().splitlines()]
    [line] = [line for line in lines if line["event"] == "upstream"]
    assert line["warrant"] == order.warrant_id
    assert (line["rule"], line["seq"], line["status"]) == ("refund", 1, 201)
    assert line["address"] == crm.url.removeprefix("http://")
    assert len(line["sha256"]) == 64
    text = edge.log.read_text()
    for secret in (crm.credential, SOFIA, body["payment_method_id"], target):
        assert secret not in text


async def test_another_user_is_hung_up_even_if_the_socket_lets_it_in(edge) -> None:
    if os.geteuid() != 0:
        # Without root there is no second user to be; the mode alone is seen.
        assert edge.socket.stat().st_mode & 0o777 == 0o600
        return
    edge.socket.chmod(0o666)
    edge.folder.chmod(0o755)
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    other = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/", "env": {}}
    said = probed(PROBE_OF_PEERS, str(edge.socket), python=python, **other)
    assert said == "b''"
    assert "peer_refused" in edge.log.read_text()

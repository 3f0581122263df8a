"""Nothing leaves the edge unordered: no test of a credential, no token request."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, private_from_seed, verify
from broker.core.warrants.events import EdgeEventKind, parse_event
from broker.core.words.warrant import EDGE_EVENT_TYP
from tests.edge.child import ask_frame
from tests.edge.fake_upstream import FakeUpstream, Reply, Seen
from tests.edge.lab import CANARY, ENVIRONMENT, probe_order, signed, signed_probe
from tests.edge.process import MANIFESTS, EdgeProcess, make_edge
from tests.edge.vault.provider import CLIENT, CLIENT_SECRET, Provider

STRANGER = private_from_seed(b"x" * SEED_BYTES, algorithm=Algorithm.EDDSA)
TRY = ("credentials", "test", "--connector", "retail", "--version", "1")


@dataclass
class Place:
    """An edge of its own, and the upstream that notes what it was sent."""

    edge: EdgeProcess
    upstream: FakeUpstream

    async def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        return await asyncio.to_thread(self.edge.command, *argv)

    def ordered(self, **changes: Any) -> tuple[str, str]:
        return "--order", self.edge.ordered("products.list", {}, version=1, **changes)


def nothing(_: Seen) -> Reply:
    return Reply(200, {})


@pytest_asyncio.fixture
async def place(own_folder: Path, pg_edge_dsn: str) -> AsyncIterator[Place]:
    upstream = FakeUpstream()
    upstream.answer = nothing
    await upstream.start()
    made = make_edge(
        own_folder, database=pg_edge_dsn, crm_url=upstream.url, credential=CANARY
    )
    try:
        await made.start()
        yield Place(made, upstream)
    finally:
        if made.process is not None:
            made.stop(signal.SIGKILL)
        await upstream.stop()


async def test_whoever_runs_the_edges_program_tries_no_credential_without_an_order(
    place,
):
    done = await place.run(*TRY)
    assert (done.returncode, b"--order" in done.stderr) == (1, True)
    order = place.edge.folder / "order.jwt"
    made = probe_order(place.edge.edge_id, MANIFESTS["products.list"], {}, version=1)
    warrant = place.edge.order("products.list", {})
    for forged in ("", signed_probe(made, key=STRANGER), signed(warrant)):
        order.write_text(forged)
        done = await place.run(*TRY, "--order", str(order))
        assert (done.returncode, b"order" in done.stderr) == (1, True)
        assert b"Traceback" not in done.stderr
    assert place.upstream.seen == []


async def test_an_order_is_good_for_one_request_of_one_edge(place, pg_dsn):
    done = await place.run(*TRY, *place.ordered(edge="another"))
    assert (done.returncode, b"another edge" in done.stderr) == (1, True)
    assert place.upstream.seen == []
    order = place.ordered()
    first = await place.run(*TRY, *order)
    assert first.returncode == 0, first.stderr
    again = await place.run(*TRY, *order)
    assert (again.returncode, b"used before" in again.stderr) == (1, True)
    assert [one.target for one in place.upstream.seen] == ["/products"]
    # What was ordered before the kill switch was thrown is not sent after it.
    owner = await asyncpg.connect(pg_dsn)
    await owner.execute(
        "INSERT INTO revocation_epoch (scope, epoch) VALUES ($1, 1)",
        f"global:{ENVIRONMENT}",
    )
    await owner.close()
    dead = await place.run(*TRY, *place.ordered())
    assert (dead.returncode, b"revoked" in dead.stderr) == (1, True)
    assert len(place.upstream.seen) == 1


async def test_an_order_to_try_is_no_warrant(place):
    made = probe_order(place.edge.edge_id, MANIFESTS["products.list"], {}, version=1)
    reader, writer = await place.edge.connect()
    question = {"op": "call", "warrant": signed_probe(made)}
    answer = await ask_frame(reader, writer, question)
    assert answer["error"]["code"] == "warrant_invalid"
    assert place.upstream.seen == []


async def test_a_token_is_got_under_a_warrant_alone_and_the_log_is_told_first(lab):
    provider = Provider()
    told_first = []

    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            told_first.append(kinds(lab)[-1])
        return provider.answer(seen)

    lab.upstream.answer = answer
    await lab.use(
        CLIENT_SECRET.encode(),
        kind="oauth_client",
        settings={
            "token_url": f"{lab.upstream.url}/o/token/",
            "client_id": CLIENT,
            "client_auth": "basic",
        },
    )
    forged = signed(lab.order("orders.get"), key=STRANGER)
    assert await lab.refused(forged) == "warrant_invalid"
    child = await lab.call(lab.order("orders.get"))
    refused = await child.ask("GET", "/somewhere/else")
    assert refused is not None
    assert refused.status == 403
    assert lab.upstream.seen == []
    child = await lab.call(lab.order("orders.get"))
    await child.ask("GET", "/orders/W1")
    sent = [(one.method, one.target) for one in lab.upstream.seen]
    assert sent == [("POST", "/o/token/"), ("GET", "/orders/W1")]
    assert told_first == [EdgeEventKind.REFRESHED]


def kinds(lab: Any) -> list[EdgeEventKind]:
    """Return the kinds of all events that the log is told of, verified."""
    key = lab.identity.key.public()
    return [
        parse_event(verify(one.token, keys={key.kid: key}, typ=EDGE_EVENT_TYP)).kind
        for one in lab.rows.events
    ]

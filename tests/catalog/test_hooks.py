"""The web hook: a signed event to the declared address, and to no other."""

from __future__ import annotations

import hmac
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.core.words.warrant import SentState
from broker.edge.identity import write_secret
from tests.edge.fake_upstream import FakeUpstream, Reply
from tests.edge.lab import signed
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.fake_edge import RunnerClient
from tools.dispatcher import Dispatcher
from tools.settings import Settings

SECRET = b"whsec-of-the-tests-0123456789"
EVENT = {"event": "parcel.missing", "order_id": "W1234567", "text": "Où est-il?"}


@dataclass
class Receiver:
    """The system behind the hook; it looks at signatures as a receiver should."""

    replies: list[Reply] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, seen: Any) -> Reply:
        stamp, code = seen.headers["webhook-signature"].split(",")
        when = stamp.removeprefix("t=").encode()
        assert abs(time.time() - int(when)) < 60
        wanted = hmac.new(SECRET, when + b"." + seen.body, "sha256").hexdigest()
        assert code == f"v1={wanted}"
        assert (seen.method, seen.target) == ("POST", "/hooks/events")
        assert "authorization" not in seen.headers
        self.events.append(json.loads(seen.body) | {"key": seen.headers["webhook-id"]})
        return self.replies.pop(0) if self.replies else Reply(202, {})


@dataclass
class Desk:
    """A runner and its edge before a receiver."""

    edge: EdgeProcess
    client: RunnerClient
    receiver: Receiver

    async def send(self, **arguments: Any) -> tuple[dict[str, Any], Any, Any]:
        order = self.edge.order("hooks.send", arguments)
        answer = await self.client.run(signed(order))
        return answer, await self.edge.receipt(order), order


@pytest.fixture
async def desk(
    tmp_path_factory: pytest.TempPathFactory, pg_edge_dsn: str
) -> AsyncIterator[Desk]:
    folder, receiver = tmp_path_factory.mktemp("x"), Receiver()
    upstream = FakeUpstream()
    upstream.answer = receiver.answer
    await upstream.start()
    edge = make_edge(folder, database=pg_edge_dsn)
    write_secret(folder / "secret", SECRET)
    for words in (
        ("init",),
        (
            *("credentials", "add", "--connector", "hooks", "--allow-private"),
            *("--kind", "signature", "--set", "header=Webhook-Signature"),
            *("--base-url", f"{upstream.url}/hooks"),
            *("--value-file", str(folder / "secret")),
        ),
    ):
        done = edge.command(*words)
        assert done.returncode == 0, done.stderr
    dispatcher = Dispatcher(
        Settings(
            runner_socket=folder / "r.sock", edge_socket=edge.socket, catalog=CATALOG
        )
    )
    try:
        await edge.start()
        await dispatcher.start()
        client = await RunnerClient.connect(folder / "r.sock")
        yield Desk(edge, client, receiver)
        client.close()
    finally:
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)
        await upstream.stop()


async def test_an_event_arrives_signed_once_and_its_answer_says_what_became_of_it(
    desk: Desk,
) -> None:
    answer, receipt, order = await desk.send(**EVENT)
    assert (answer["result"], answer["error"]) == ({"taken": True}, None)
    assert (receipt.state, receipt.upstream_status) == (SentState.ANSWERED, 202)
    sent = {**EVENT, "id": order.action_id, "key": order.idempotency_key}
    assert desk.receiver.events == [sent]
    again = await desk.client.run(signed(order))
    assert again["error"]["code"] == "edge_refused"
    desk.receiver.replies = [Reply(422, {"error": "unknown"})]
    answer, receipt, _ = await desk.send(event="callback.wanted")
    assert answer["error"]["detail"] == "upstream_refused: answered 422"
    assert receipt.upstream_status == 422
    assert desk.receiver.events[1].keys() == {"id", "event", "key"}
    desk.receiver.replies = [Reply(drop=True)]
    _, receipt, _ = await desk.send(event="complaint.made")
    assert receipt.state is SentState.SENT
    assert len(desk.receiver.events) == 3

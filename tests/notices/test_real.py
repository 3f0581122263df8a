"""Notices over a real runner and a real edge: received exactly as they were signed."""

from __future__ import annotations

import json
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from broker.core.words.notice import NoticeKind
from broker.effects.executor import SocketExecutor
from broker.notices.post import post, try_out
from tests.edge.egress.fake_mail import FakeMail
from tests.edge.fake_upstream import FakeUpstream, Reply
from tests.edge.lab import WARRANT_KEY
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.approvals.voters import large_refund
from tests.support.flow.house import ISSUER, PEOPLE, House
from tests.support.notices.mailrooms import (
    mailroom,
    subscribe,
    subscribe_mail,
    wait_out,
)
from tests.support.notices.receiver import SECRET, documented
from tools.dispatcher import Dispatcher
from tools.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.warrants.sandbox import Sandbox

PASSWORD = b"the-mail-servers-password"
CHAT = b"services/T0123456/B0123456/a-secret-part-of-the-path"


@dataclass
class Real:
    """Runner, edge and what listens."""

    executor: SocketExecutor
    edge: EdgeProcess
    hook: FakeUpstream
    mail: FakeMail
    heard: list[bytes] = field(default_factory=list)


async def _nothing(_: Sandbox) -> None:
    """Record nothing."""


def _credential(edge: EdgeProcess, value: bytes, *more: str) -> None:
    path = edge.state / "edge" / "value"
    path.write_bytes(value)
    path.chmod(0o600)
    done = edge.command(
        "credentials", "add", "--allow-private", "--value-file", str(path), *more
    )
    assert done.returncode == 0, done.stderr
    path.unlink()


@asynccontextmanager
async def real(folder: Path, edge_dsn: str) -> AsyncIterator[Real]:
    hook, mail = FakeUpstream(), FakeMail()
    hook.answer = lambda _: Reply(204)
    await hook.start()
    await mail.start()
    edge = make_edge(folder, database=edge_dsn)
    assert edge.command("init").returncode == 0
    to = ("--connector", "notify_ops", "--base-url", hook.url)
    _credential(edge, SECRET, *to, "--kind", "webhook")
    to = ("--connector", "notify_mail", "--base-url", f"smtp://127.0.0.1:{mail.port}")
    sets = ("--set", "user=shop", "--set", "sender=no-reply@shop.test")
    _credential(edge, PASSWORD, *to, "--kind", "basic", *sets)
    settings = Settings(
        runner_socket=folder / "r.sock", edge_socket=edge.socket, catalog=CATALOG
    )
    dispatcher = Dispatcher(settings)
    executor = SocketExecutor(
        str(folder / "r.sock"),
        issuer=ISSUER,
        key=WARRANT_KEY,
        receipt_key=edge.state / "public" / "edge" / "receipt.jwk",
        on_sandbox=_nothing,
    )
    try:
        await edge.start()
        await dispatcher.start()
        yield Real(executor, edge, hook, mail)
    finally:
        await executor.close()
        await dispatcher.close()
        if edge.process is not None:
            edge.stop(signal.SIGKILL)
        await hook.stop()
        await mail.stop()


async def test_a_web_hook_and_a_mail_arrive_as_signed_also_after_faults(
    house: House,
    tmp_path_factory: pytest.TempPathFactory,
    pg_edge_dsn: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with real(tmp_path_factory.mktemp("n"), pg_edge_dsn) as parts:
        room = mailroom(house, parts.executor)
        await subscribe(house, "ops")
        await subscribe_mail(
            house, room, "alice", person=PEOPLE["alice"], address="alice@shop.test"
        )
        faults = [Reply(500), Reply(drop=True)]
        parts.hook.answer = lambda _: faults.pop(0) if faults else Reply(204)
        parts.mail.says["RCPT"] = b"451 later\r\n"
        record = await large_refund(house)
        for _ in range(4):
            await post(house.ports, room)
            parts.mail.says.clear()
            await wait_out(house)
        rows = await house.database.rows(
            "SELECT subscription, state, tries FROM notice_delivery ORDER BY 1"
        )
        assert [tuple(row) for row in rows] == [
            ("alice", "taken", 2),
            ("ops", "taken", 3),
        ]
        taken: set[str] = set()
        news = [
            documented()["receive"](
                SECRET.decode(),
                seen.headers,
                seen.body,
                now_s=int(time.time()),
                seen=taken,
            )
            for seen in parts.hook.seen
        ]
        assert news == [True, False, False]
        assert parts.hook.seen[0].json["subject"] == record.approval_id
        (mail,) = parts.mail.mails
        assert mail["To"] == "alice@shop.test"
        text = mail.get_payload(decode=True)
        assert isinstance(text, bytes)
        assert f"{ISSUER}/console/approvals/{record.approval_id}" in text.decode()
        assert f"{ISSUER}/console/reject?t=" in text.decode()
        # A test goes out at once, and a removed channel gets nothing any more.
        ops = (await room.rows.subscriptions())[1]
        assert (await try_out(house.ports, room, ops)).status == 204
        assert parts.hook.seen[-1].json["type"] == "counterfoil.notification.test"
        await house.revoke("subscription:ops")
        epochs = await room.rows.epochs("ops")
        assert epochs == (("subscription:ops", 1),)
        _no_secret_in(capsys.readouterr().out + parts.edge.log.read_text())
        await _no_secret_in_the_database(house)
    assert NoticeKind.TEST.value == "test"


def _no_secret_in(text: str) -> None:
    for secret in (SECRET.decode(), SECRET.decode()[6:], PASSWORD.decode()):
        assert secret not in text
    assert "alice@shop.test" not in text
    assert "reject?t=" not in text


async def _no_secret_in_the_database(house: House) -> None:
    """What the broker can read holds neither a secret nor an address."""
    for table in ("notice", "notice_delivery", "authority", "payload", "audit_entry"):
        rows = await house.database.rows(f"SELECT t::text AS row FROM {table} t")  # noqa: S608
        everything: str = json.dumps([row["row"] for row in rows])
        for form in (SECRET, SECRET[6:], PASSWORD, b"alice@shop.test"):
            assert form.decode() not in everything
            assert form.hex() not in everything


def test_the_broker_cannot_read_what_the_edge_keeps(pg_broker_dsn: str) -> None:
    import asyncio  # noqa: PLC0415

    import asyncpg  # noqa: PLC0415

    async def look() -> Any:
        connection = await asyncpg.connect(pg_broker_dsn)
        try:
            return await connection.fetch("SELECT * FROM edge_credential")
        finally:
            await connection.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(look())

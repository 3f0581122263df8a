"""The canary: the credential is in the request to its upstream, and nowhere else."""

import base64
import json
import os
from pathlib import Path

import asyncpg
import pytest

from broker.edge.journal import read_records
from tests.edge.fake_upstream import Reply
from tests.edge.lab import CANARY
from tests.edge.process import EdgeProcess


def forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [raw, base64.b64encode(raw)[:20], raw.hex().encode()]


def holds(data: bytes, secret: str) -> bool:
    return any(form in data for form in forms(secret))


@pytest.mark.control("7.6")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(201, {"amount": 500}),
        Reply(500, CANARY.encode()),
        Reply(302, b"", {"location": f"https://evil.test/{CANARY}"}),
        Reply(201, CANARY.encode() * 1_000),
        Reply(401, {"error": f"bad token {CANARY}"}),
        Reply(drop=True),
        Reply(raw=f"HTTP/1.1 {CANARY}\r\n\r\n".encode()),
        Reply(raw=f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n".encode()),
    ],
    ids=str,
)
async def test_the_canary_is_in_no_answer_receipt_journal_or_log(
    lab, reply, capfd, caplog
) -> None:
    caplog.set_level("DEBUG")
    lab.upstream.answer = lambda _: reply
    order = lab.order()
    child = await lab.call(order)
    answer = await child.refund()
    said = await lab.control(op="receipt", warrant=order.warrant_id)
    asked = await lab.ask(order)
    [seen] = lab.upstream.seen
    assert seen.headers["authorization"] == f"Bearer {CANARY}"
    heard = b"" if answer is None else answer.body + str(answer.headers).encode()
    journal = json.dumps(list(read_records(lab.folder / "journal"))).encode()
    out, err = capfd.readouterr()
    for where in (heard, json.dumps(said).encode(), str(asked).encode(), journal):
        assert not holds(where, CANARY)
    for text in (out, err, caplog.text):
        assert not holds(text.encode(), CANARY)


async def test_the_canary_is_not_kept_in_clear_in_any_file_or_row(
    edge: EdgeProcess, crm, pg_dsn
) -> None:
    order = edge.order("customers.get", {}, customer_id="sofia_li_9219")
    child = await edge.call(order)
    answer = await child.ask("GET", "/customers/sofia_li_9219")
    assert answer is not None
    assert answer.status == 200
    handed_over = edge.state / "edge" / "democrm.credential"
    for path in all_files(edge.folder):
        if path != handed_over:
            assert not holds(path.read_bytes(), crm.credential), path
    owner = await asyncpg.connect(pg_dsn)
    rows = await owner.fetch("SELECT * FROM edge_credential")
    await owner.close()
    assert rows
    for row in rows:
        for value in row.values():
            data = value if isinstance(value, bytes) else str(value).encode()
            assert not holds(data, crm.credential)


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_the_canary_is_not_in_the_edges_environment_or_arguments(
    edge: EdgeProcess, crm
) -> None:
    if os.geteuid() != 0:
        # The edge's own user may not even look.
        with pytest.raises(PermissionError):
            read(f"/proc/{edge.pid}/environ")
        return
    for name in ("environ", "cmdline"):
        assert not holds(read(f"/proc/{edge.pid}/{name}"), crm.credential)


def read(path: str) -> bytes:
    return Path(path).read_bytes()

"""A credential is tried with a request that changes nothing, judged by its answer."""

from dataclasses import replace
from typing import Any

import pytest

from broker.edge.egress.upstream import Answer, Outgoing, UpstreamError
from broker.edge.vault.access import access_with
from broker.edge.vault.kinds import VaultError
from broker.edge.vault.probe import PROBE_S_MAX, REFUSES, Probe, probe
from tests.edge.manifests import TOOLS
from tests.edge.vault.test_kinds import SECRET, make

READ = Probe(tool=TOOLS["orders.get"], arguments={"order": "W1"}, customer="")


async def tried(reply: Any, wish: Probe = READ, kind: str = "bearer") -> Any:
    sent: list[Outgoing] = []

    async def ask(_route: Any, outgoing: Outgoing) -> Answer:
        sent.append(outgoing)
        if isinstance(reply, UpstreamError):
            raise reply
        status, body = reply
        return Answer(
            status=status, content_type="text/plain", body=body, address="", ms=1
        )

    found = await probe(wish, access_with(make(kind), SECRET), ask=ask)
    return found, sent[0]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((200, b"{}"), ""),
        ((404, b"{}"), ""),
        ((401, b"{}"), "credential_refused"),
        ((403, b"{}"), "credential_refused"),
        ((500, b"{}"), "unexpected_status"),
        ((200, b"you sent " + SECRET), "credential_echo"),
        (UpstreamError("pin_refused", "", sent=False), "pin_refused"),
    ],
)
async def test_the_answer_says_whether_the_credential_was_taken(reply, problem) -> None:
    found, sent = await tried(reply)
    assert found.problem == problem
    assert (sent.method, sent.target, sent.body) == ("GET", "/orders/W1", None)
    assert sent.timeout_s == PROBE_S_MAX


async def test_a_refusal_counts_even_where_the_manifest_lists_it() -> None:
    request = replace(TOOLS["orders.get"].requests[0], refused=REFUSES | {404})
    tool = replace(TOOLS["orders.get"], requests=(request,))
    for status in REFUSES:
        found, _ = await tried((status, b""), replace(READ, tool=tool))
        assert found.problem == "credential_refused"


async def test_a_key_that_travels_in_the_query_is_tried_there() -> None:
    _, sent = await tried((200, b""), kind="query")
    assert sent.target.startswith("/orders/W1?api_key=s3cret%2F")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (replace(READ, tool=TOOLS["orders.refund"]), "no harmless request"),
        (replace(READ, arguments={}), "cannot be filled"),
        (replace(READ, arguments={"order": "../admin"}), "cannot be filled"),
    ],
)
async def test_only_what_a_manifest_declares_for_reading_is_sent(wish, said) -> None:
    with pytest.raises(VaultError, match=said):
        await tried((200, b""), wish)

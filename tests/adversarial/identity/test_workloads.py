"""Catalogue B, E and G: workload assertions at the door, and one answer for no."""

from __future__ import annotations

import pytest

from broker.core.words.entry import EntryKind
from broker.effects.federation.keys import IssuerKeys
from broker.registry.federations import write_federation
from tests.support.certificates import Authority
from tests.support.door import claims_in
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    API,
    INTERACTION_ID,
    NOW_S,
    OTHER_AGENT_ID,
    key_of,
)
from tests.support.identity.issuers import (
    account_token,
    cluster,
    ec_jwk,
    key_server,
    rsa,
    rsa_jwk,
    svid,
    trust_domain,
)
from tests.support.identity.lending import as_child, lends, lent, own_token

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFUSED = {
    "error": "invalid_grant",
    "error_description": "the assertion is not acceptable",
}


@pytest.fixture(autouse=True)
def _issuers(door) -> None:
    """Let the desk look keys up as the broker does."""
    object.__setattr__(door.desk, "issuers", IssuerKeys())


async def trust(door, *federations, agent_id=AGENT_ID) -> None:
    bodies = [write_federation(one) for one in federations]
    await door.change("agent", agent_id, federations=bodies)


async def ask(door, assertion: str, *, proof: str | None = "", **changes):
    form = {
        "grant_type": JWT_BEARER,
        "assertion": assertion,
        "client_id": AGENT,
        "resource": API,
    }
    form = {k: v for k, v in (form | changes).items() if v is not ...}
    if proof == "":
        proof = door.proof(key=key_of("agent runs"))
    return await door.ask(form, proof=proof)


async def test_a_workload_gets_its_agents_token_bound_to_its_own_key(door):
    await trust(door, cluster(), trust_domain())
    for assertion in (account_token(), svid()):
        answer = await ask(door, assertion)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert answer.json()["token_type"] == "DPoP"
        assert claims_in(token)["cnf"] == {"jkt": key_of("agent runs").kid}
        assert claims_in(token)["sub"] == AGENT
        called = await as_child(door, token, by="agent")
        assert called.json()["subject"] == AGENT
    entry = door.logged(EntryKind.TOKEN)[-1]
    assert entry.context["kid"] == trust_domain().kid


async def test_keys_that_an_issuer_serves_are_fetched_for_it(door, tmp_path):
    authority = Authority(tmp_path, "issuers")
    pair = authority.issue("issuer", use="server")
    async with key_server(pair, rsa_jwk(rsa())) as served:
        await trust(
            door,
            cluster(
                keys=(),
                jwks_url=served.url,
                networks=("127.0.0.0/8",),
                ca=authority.file.read_text(encoding="ascii"),
            ),
        )
        assert (await ask(door, account_token())).status_code == 200
        for number in range(20):
            unknown = account_token(header={"kid": f"k{number}"})
            assert (await ask(door, unknown)).json() == REFUSED
        assert len(served.asked) == 1


async def test_whatever_is_wrong_with_an_assertion_is_one_answer(door):
    """Unknown agents, issuers, subjects, keys and signatures are not told apart."""
    await trust(door, cluster())
    answers = [
        await ask(door, account_token(iss="https://other.example")),
        await ask(door, account_token(sub="system:serviceaccount:care:other")),
        await ask(door, account_token(aud=["https://other.example"])),
        await ask(door, account_token(exp=NOW_S)),
        await ask(door, account_token(exp=NOW_S + 90_000)),
        await ask(door, account_token(key=rsa(3_072))),
        await ask(door, account_token(header={"kid": "rsa-9"})),
        await ask(door, account_token(header={"typ": "oauth-id-jag+jwt"})),
        await ask(door, account_token(), client_id=f"agent:{OTHER_AGENT_ID}"),
        await ask(door, account_token(), client_id=f"agent:{INTERACTION_ID}"),
        await ask(door, account_token(), client_id=f"person:{AGENT_ID}"),
        await ask(door, account_token(), client_id="nobody"),
        await ask(door, svid()),
        await ask(door, "a.b.c"),
        await ask(door, await own_token(door, "agent")),
        await ask(door, door.assertion()),
        await ask(door, door.proof()),
        await ask(door, "[" * 7_000),
    ]
    assert {answer.status_code for answer in answers} == {400}
    assert [answer.json() for answer in answers] == [REFUSED] * len(answers)
    issued = [e for e in door.logged(EntryKind.TOKEN) if e.context["kid"] in RSA_KIDS]
    assert issued == []


RSA_KIDS = {cluster().kid}


async def test_an_svid_counts_once_and_an_account_token_once_per_proof(door):
    await trust(door, cluster(), trust_domain())
    assertion, proof = svid(), door.proof(key=key_of("agent runs"))
    assert (await ask(door, assertion)).status_code == 200
    again = await ask(door, assertion)
    assert again.json()["error"] == "invalid_client"
    projected = account_token()
    assert (await ask(door, projected, proof=proof)).status_code == 200
    assert (await ask(door, projected)).status_code == 200
    replayed = await ask(door, projected, proof=proof)
    assert replayed.json()["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"proof": None}, "invalid_dpop_proof"),
        ({"proof": None, "scope": f"interaction:{INTERACTION_ID}"}, "invalid_dpop"),
        ({"client_id": ...}, "invalid_request"),
        ({"client_assertion": "a.b.c"}, "invalid_request"),
        ({"client_secret": "s"}, "invalid_request"),
        ({"resource": ...}, "invalid_target"),
        ({"resource": f"{API}/"}, "invalid_target"),
        ({"scope": "tool:orders.cancel"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
    ],
)
async def test_a_good_assertion_gets_no_more_than_a_client_would(door, changes, error):
    await trust(door, cluster())
    answer = await ask(door, account_token(), **changes)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)


@pytest.mark.parametrize(
    "change", [{"federations": []}, {"status": "suspended"}, {"status": "revoked"}]
)
async def test_what_a_workload_got_ends_with_its_federation_and_its_agent(door, change):
    await trust(door, cluster())
    token = (await ask(door, account_token())).json()["access_token"]
    assert (await as_child(door, token, by="agent")).status_code == 200
    await door.change("agent", AGENT_ID, **change)
    assert (await as_child(door, token, by="agent")).status_code == 401
    assert (await ask(door, account_token())).json() == REFUSED


async def test_a_workload_lends_like_any_other_and_its_federation_ends_the_child(door):
    await lends(door)
    await trust(door, cluster())
    parent = (await ask(door, account_token())).json()["access_token"]
    child = await lent(door, parent)
    assert (await as_child(door, child)).status_code == 200
    await trust(door)
    assert (await as_child(door, child)).status_code == 401


async def test_an_assertion_stands_in_no_entry_and_no_answer(door):
    await trust(door, cluster())
    good, bad = account_token(), account_token(exp=NOW_S)
    answers = [await ask(door, good), await ask(door, bad)]
    seen = str([(e.detail, e.context) for e in door.journal.entries])
    seen += "".join(answer.text for answer in answers)
    for secret in (good, bad):
        assert secret.rpartition(".")[2] not in seen
    assert ec_jwk()["x"] not in seen

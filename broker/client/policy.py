"""The life of a policy, for people: propose, approve, withdraw, look back.

A person signs the digest of the whole content with their own key; the broker signs
nothing in their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import digest
from broker.core.jws import sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.client.person import PersonClient

POLICY_TYP: Final = "counterfoil-policy+jwt"
_PATH: Final = "/v1/policy"


async def versions(me: PersonClient) -> Mapping[str, Any]:
    """Return every version, newest first, and what is proposed."""
    return (await me.call("GET", f"{_PATH}/versions")).checked()


async def version(me: PersonClient, number: int) -> Mapping[str, Any]:
    """Return one version with its content."""
    return (await me.call("GET", f"{_PATH}/versions/{number}")).checked()


async def in_force(me: PersonClient) -> Mapping[str, Any]:
    """Return the version in force with its content."""
    newest = (await versions(me))["versions"][0]
    return await version(me, newest["version"])


async def proposal(me: PersonClient) -> Mapping[str, Any]:
    """Return what waits for a second person, with what it would change."""
    return (await me.call("GET", f"{_PATH}/proposal")).checked()


async def propose(
    me: PersonClient,
    content: Mapping[str, Any],
    *,
    reason: str = "",
    rollback_of: int = 0,
    now: bool = False,
) -> Mapping[str, Any]:
    """Sign a content as the next version, and propose it.

    ``now`` puts it in force at once, if it provably only narrows.
    """
    number = (await versions(me))["versions"][0]["version"] + 1
    body = {
        "policy": dict(content),
        "version": number,
        "signature": _signed(me, "propose", number, digest(dict(content))),
        "reason": reason,
        "rollback_of": rollback_of,
        "now": now,
    }
    return (await me.call("POST", f"{_PATH}/proposal", json=body)).checked()


async def approve(me: PersonClient, shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Sign a proposal that was shown, and put it in force."""
    # Over what was shown, not over the digest that came with it.
    text = digest(dict(shown["policy"]))
    body = {
        "version": shown["version"],
        "signature": _signed(me, "approve", shown["version"], text),
    }
    path = f"{_PATH}/proposal/approval"
    return (await me.call("POST", path, json=body)).checked()


async def withdraw(me: PersonClient, *, reason: str = "") -> Mapping[str, Any]:
    """Take back what is proposed."""
    path = f"{_PATH}/proposal/withdrawal"
    return (await me.call("POST", path, json={"reason": reason})).checked()


async def replay(
    me: PersonClient,
    content: Mapping[str, Any],
    *,
    days: int,
    after: str = "",
    until: str = "",
) -> Mapping[str, Any]:
    """Return what one page of recorded requests comes to under another policy."""
    body = {"policy": dict(content), "days": days, "after": after, "until": until}
    return (await me.call("POST", f"{_PATH}/replays", json=body)).checked()


async def shadow(me: PersonClient) -> Mapping[str, Any]:
    """Return what runs beside the live policy, and what it found."""
    return (await me.call("GET", f"{_PATH}/shadow")).checked()


async def set_shadow(
    me: PersonClient, content: Mapping[str, Any] | None, *, reason: str = ""
) -> Mapping[str, Any]:
    """Run a content beside the live policy, or end what runs there."""
    body = {"policy": content, "reason": reason}
    return (await me.call("POST", f"{_PATH}/shadow", json=body)).checked()


def _signed(me: PersonClient, word: str, number: int, text: str) -> str:
    claims = {
        "iss": me.tokens.client_id.partition(":")[2],
        "word": word,
        "version": number,
        "digest": text,
    }
    return sign(claims, key=me.tokens.key.key, typ=POLICY_TYP)

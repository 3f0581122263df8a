"""A channel's client: opens and ends interactions, reports what customers say."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import httpx

from broker.client.answers import Answer, answer_of
from broker.client.oauth import ASSERTION_LIFE_S, now_utc, send
from broker.client.session import TIMEOUT_S
from broker.client.trust import authorities
from broker.core.jws import sign
from broker.core.words.approval import CONFIRMATION_TYP
from broker.core.words.identity import (
    ASKING_TYP,
    ENDING_TYP,
    INTERACTION_TYP,
    TURN_TYP,
)
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    from broker.core.jws import PrivateKey

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"


class ChannelClient:
    """Speaks as one channel; every request carries its own signature and no token."""

    def __init__(
        self,
        base_url: str,
        *,
        channel_id: str,
        key: PrivateKey,
        http: httpx.AsyncClient | None = None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Keep who calls whom; nothing is sent yet."""
        self.base_url = base_url.rstrip("/")
        self.channel_id = channel_id
        self._key = key
        self._now = now
        self._owns_http = http is None
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S, verify=authorities())
        self._issuer = ""

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections, if they are this client's own."""
        if self._owns_http:
            await self._http.aclose()

    async def open_interaction(
        self,
        agent: str,
        *,
        use_case: str,
        customer: str = "",
        verification_level: int = 0,
        more: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Open an interaction for an agent.

        Args:
            agent: The agent's id.
            use_case: What the conversation is about, such as ``retail-care``.
            customer: The upstream's id of the customer, empty while nobody knows.
            verification_level: 0 none, 1 claimed, 2 matched, 3 strong.
            more: Further claims: channel, topics, customer_flags, locale, purpose,
                consent_version, ai_disclosed_at, evidence.
        """
        claims = {
            "agent": agent,
            "use_case": use_case,
            "customer": customer,
            "verification_level": verification_level,
            "channel": "webchat",
            "topics": [],
            "locale": "en-US",
            "purpose": "service",
            "consent_version": "",
            "ai_disclosed_at": write_moment(self._now()),
            "evidence": {},
        }
        signed = await self._signed(INTERACTION_TYP, claims | dict(more or {}))
        return await self._post("/v1/interactions", signed)

    async def turn(
        self, interaction: str, text: str, *, speaker: str = "customer"
    ) -> Answer:
        """Report what the customer, or the agent, said just now."""
        claims = {
            "interaction": interaction,
            "speaker": speaker,
            "text": text,
            "at": write_moment(self._now()),
        }
        signed = await self._signed(TURN_TYP, claims)
        return await self._post(f"/v1/interactions/{interaction}/turns", signed)

    async def end(self, interaction: str) -> Answer:
        """Say that a conversation is over: no agent begins anything in it any more."""
        signed = await self._signed(ENDING_TYP, {"interaction": interaction})
        return await self._post(f"/v1/interactions/{interaction}/end", signed)

    async def waiting(self, interaction: str) -> Answer:
        """Ask what the customer has to confirm."""
        signed = await self._signed(ASKING_TYP, {"interaction": interaction})
        path = f"/v1/interactions/{interaction}/confirmations/waiting"
        return await self._post(path, signed)

    async def confirm(
        self,
        interaction: str,
        approval: str,
        *,
        digest: str,
        customer: str,
        verdict: str,
        verification_level: int,
    ) -> Answer:
        """Report what the customer said to an approval, out of band.

        Args:
            interaction: Where it was asked.
            approval: Its id, as ``waiting`` gave it.
            digest: What the customer was shown, as ``waiting`` gave it.
            customer: The upstream's id of the customer.
            verdict: ``approve`` or ``reject``.
            verification_level: How well they were known when they said it.
        """
        claims = {
            "interaction": interaction,
            "approval": approval,
            "digest": digest,
            "customer": customer,
            "verdict": verdict,
            "verification_level": verification_level,
            "jti": str(uuid4()),
        }
        signed = await self._signed(CONFIRMATION_TYP, claims)
        return await self._post(f"/v1/interactions/{interaction}/confirmations", signed)

    async def _signed(self, typ: str, claims: Mapping[str, Any]) -> str:
        if not self._issuer:
            found = await send(self._http, "GET", self.base_url + METADATA_PATH)
            self._issuer = str(answer_of(found).checked()["issuer"])
        issued_s = int(self._now().timestamp())
        common = {
            "iss": self.channel_id,
            "aud": self._issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": issued_s,
            "exp": issued_s + ASSERTION_LIFE_S,
        }
        return sign(common | dict(claims), key=self._key, typ=typ)

    async def _post(self, path: str, signed: str) -> Answer:
        body = {"assertion": signed}
        url = self.base_url + path
        return answer_of(await send(self._http, "POST", url, json=body))

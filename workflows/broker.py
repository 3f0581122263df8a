"""The broker's internal endpoint, as the worker calls it: with a token, and an id.

The worker authenticates with its own key (``private_key_jwt``) and proves possession of
it on every call (DPoP), so that neither a stolen token nor a place in the network lets
anybody else ask. Brokers are tried in the order in which they were named.

Source: RFC 7523, RFC 8707, RFC 9449; broker/api/internal.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx
import jwt

from broker.core.approvals.votes import is_id
from broker.core.identity.assertions import assertion_claims
from broker.core.identity.dpop import DPOP_TYP, proof_claims, proof_key
from broker.core.jwk import PrivateKey
from workflows.messages import Standing

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CALL_S_MAX: Final = 40.0
"""Longest answer: settling takes as long as its tool may, and what is around it."""

CONNECT_S_MAX: Final = 2.0
TOKEN_S_MAX: Final = 5.0
TOKEN_SPARE_S: Final = 30
"""A token that ends within this many seconds is not used any more."""

ANSWER_BYTES_MAX: Final = 16_384


class BrokerAwayError(Exception):
    """No broker could answer now; another try may go well."""


class NoSuchApprovalError(Exception):
    """The broker knows no such approval."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the worker is: its client id, its key, and whose tokens it uses."""

    client_id: str
    key: PrivateKey
    issuer: str
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def assertion(self) -> str:
        """Return a fresh client assertion."""
        claims = assertion_claims(
            self.client_id, issuer=self.issuer, jti=self.new_id(), now=self.now()
        )
        return self._signed(claims, {"kid": self.key.kid})

    def proof(self, method: str, url: str, *, token: str | None, nonce: str) -> str:
        """Return a fresh proof of possession for one request."""
        claims = proof_claims(
            method=method, url=url, jti=self.new_id(), now=self.now(), token=token
        )
        header = {"typ": DPOP_TYP, "jwk": proof_key(self.key.public())}
        return self._signed(claims | ({"nonce": nonce} if nonce else {}), header)

    def _signed(self, claims: dict[str, Any], header: dict[str, Any]) -> str:
        return jwt.encode(
            claims, self.key.material, algorithm=self.key.algorithm, headers=header
        )


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: datetime


class Broker:
    """Calls the internal endpoint of whichever broker answers first."""

    def __init__(
        self, urls: tuple[str, ...], *, identity: Identity, http: httpx.AsyncClient
    ) -> None:
        """Keep where the brokers are and who asks."""
        self._urls = urls
        self._identity = identity
        self._http = http
        self._token: _Token | None = None
        self._renewing = asyncio.Lock()
        self._nonce = ""

    async def look(self, approval_id: str) -> Standing:
        """Return where an approval is.

        Raises:
            NoSuchApprovalError: there is none.
            BrokerAwayError: nobody answers now.
        """
        return await self._ask("GET", approval_id, "")

    async def settle(self, approval_id: str) -> Standing:
        """Have the action of an approval settled; return where it is then.

        Raises:
            NoSuchApprovalError: there is none.
            BrokerAwayError: nobody answers now, or it cannot be settled now.
        """
        return await self._ask("POST", approval_id, "/settle")

    async def expire(self, approval_id: str) -> Standing:
        """Have done what time has made due; return where the approval is then.

        Raises:
            NoSuchApprovalError: there is none.
            BrokerAwayError: nobody answers now.
        """
        return await self._ask("POST", approval_id, "/expire")

    async def rotate_if_due(self) -> bool:
        """Have the signing key rotated if it is time; return whether it was.

        Raises:
            BrokerAwayError: nobody answers now.
        """
        for url in self._urls:
            try:
                answer = await self._called(url, "POST", "/internal/keys/rotate-if-due")
            except httpx.HTTPError:
                continue
            if (
                answer.status_code == HTTPStatus.OK
                and len(answer.content) <= ANSWER_BYTES_MAX
            ):
                return bool(answer.json() == {"rotated": True})
        msg = "no broker answers now"
        raise BrokerAwayError(msg)

    async def _ask(self, method: str, approval_id: str, what: str) -> Standing:
        # It came from Temporal, and becomes part of a path.
        if not is_id(approval_id):
            msg = "that is no approval's id"
            raise NoSuchApprovalError(msg)
        path = f"/internal/approvals/{approval_id}{what}"
        for url in self._urls:
            try:
                answer = await self._called(url, method, path)
            except httpx.HTTPError:
                continue
            if answer.status_code == HTTPStatus.NOT_FOUND:
                msg = "the broker knows no such approval"
                raise NoSuchApprovalError(msg)
            if answer.status_code == HTTPStatus.OK:
                return _standing(answer)
        msg = "no broker answers now"
        raise BrokerAwayError(msg)

    async def _called(self, base: str, method: str, path: str) -> httpx.Response:
        """Call with a token; renew it once, and take in a nonce once, if asked to."""
        answer = await self._once(base, method, path)
        for _ in range(2):
            if answer.status_code != HTTPStatus.UNAUTHORIZED:
                break
            if not self._learned_nonce(answer):
                self._token = None
            answer = await self._once(base, method, path)
        return answer

    async def _once(self, base: str, method: str, path: str) -> httpx.Response:
        token = await self._valid_token(base)
        url = base + path
        proof = self._identity.proof(method, url, token=token, nonce=self._nonce)
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        return await self._http.request(method, url, headers=headers)

    async def _valid_token(self, base: str) -> str:
        spare = timedelta(seconds=TOKEN_SPARE_S)
        async with self._renewing:
            now = self._identity.now()
            if self._token is None or self._token.until - spare < now:
                self._token = await self._fresh_token(base, now)
            return self._token.text

    async def _fresh_token(self, base: str, now: datetime) -> _Token:
        url = f"{base}/oauth/token"
        answer = await self._token_call(url)
        if self._learned_nonce(answer):
            answer = await self._token_call(url)
        if answer.status_code != HTTPStatus.OK:
            msg = f"no token: status {answer.status_code}"
            raise httpx.HTTPStatusError(msg, request=answer.request, response=answer)
        said = answer.json()
        return _Token(
            str(said["access_token"]), now + timedelta(seconds=int(said["expires_in"]))
        )

    async def _token_call(self, url: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._identity.assertion(),
            "resource": f"{self._identity.issuer}/internal",
        }
        proof = self._identity.proof("POST", url, token=None, nonce=self._nonce)
        headers = {"DPoP": proof}
        return await self._http.post(
            url, data=form, headers=headers, timeout=TOKEN_S_MAX
        )

    def _learned_nonce(self, answer: httpx.Response) -> bool:
        """Take in the nonce of a refusal; return whether there was a new one."""
        nonce = answer.headers.get("DPoP-Nonce", "")
        if answer.is_success or not nonce or nonce == self._nonce:
            return False
        self._nonce = nonce
        return True


def http_client() -> httpx.AsyncClient:
    """Return the client for these calls: bounded, and blind to proxy variables."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(CALL_S_MAX, connect=CONNECT_S_MAX),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        follow_redirects=False,
        trust_env=False,
    )


def _standing(answer: httpx.Response) -> Standing:
    if len(answer.content) > ANSWER_BYTES_MAX:
        msg = "the broker's answer is too long"
        raise BrokerAwayError(msg)
    said = answer.json()
    return Standing(
        approval=str(said["approval"]),
        action=str(said["action"]),
        left_s=float(said["left_s"]),
    )

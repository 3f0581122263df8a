"""Get access tokens for a credential: by client credentials, or by a refresh token.

One refresher at a time, on all edges together where a refresh token may be replaced:
two that used the same one would look like a thief and its victim. A refresh token that
took another's place is stored, sealed, before the access token that came with it is
used. If we die after the server replaced it and before it is stored, the one before is
tried again; many servers accept it for a while, and one that does not answers
`invalid_grant`, which is recorded.

Source: RFC 6749, sections 2.3.1, 4.4 and 6; RFC 7523; RFC 8707; RFC 9396.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from broker.core.canonical import CanonicalError, parse_json
from broker.core.identity.assertions import assertion_claims
from broker.core.jws import sign
from broker.core.warrants.events import EdgeEventKind
from broker.edge.egress.route import Route
from broker.edge.egress.tls import Tls
from broker.edge.egress.upstream import Outgoing, UpstreamError
from broker.edge.store import StoreError
from broker.edge.vault.kinds import (
    OAUTH_REFRESH,
    SECRET_BYTES_MIN,
    VaultError,
    pair,
    signing_key,
)
from broker.edge.vault.sealing import open_rotated, open_with, seal_rotated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.edge.egress.upstream import Answer
    from broker.edge.vault.credential import Credential, Sealed
    from broker.edge.vault.events import Notary
    from broker.edge.vault.rows import Rows

TOKEN_S_MAX: Final = 5.0
"""How long one answer of a token endpoint is waited for."""

TOKEN_ANSWER_BYTES_MAX: Final = 65_536
TOKEN_BYTES_MAX: Final = 8_192
RENEW_BEFORE_S: Final = 30.0
LIFE_S_UNSAID: Final = 60
"""How long a token is used whose server does not say how long it lives."""

LIFE_S_MAX: Final = 86_400
AGAIN_S: Final = 2.0
"""After a failure nothing is asked for so long: calls fail at once."""

_TOKEN = re.compile(rf"[\x21-\x7e]{{{SECRET_BYTES_MIN},{TOKEN_BYTES_MAX}}}")
_ERROR = re.compile(r"[a-z_]{1,40}")
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OK = 200


@dataclass(slots=True)
class _Kept:
    """What is known of one version of a credential between requests."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: bytes = b""
    refresh_tokens: tuple[bytes, ...] = ()
    good_until: float = 0.0
    failed_until: float = 0.0
    problem: str = ""


class Tokens:
    """The access tokens of this process, by version of a credential."""

    def __init__(
        self,
        rows: Rows,
        *,
        notary: Notary,
        ask: Callable[[Route, Outgoing], Awaitable[Answer]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none.

        Args:
            rows: Where refresh tokens are kept.
            notary: Signs what the log is told of refreshes.
            ask: Sends a form to a token endpoint.
            clock: Monotonic seconds.
        """
        self._rows = rows
        self._notary = notary
        self._ask = ask
        self._clock = clock
        self._kept: dict[tuple[str, int], _Kept] = {}
        self._tasks: set[asyncio.Task[bytes]] = set()

    async def token(self, row: Sealed, key: bytes) -> bytes:
        """Return an access token that is good for a while yet.

        Raises:
            VaultError: The token endpoint gave none; it says why.
            StoreError: PostgreSQL did not answer, so that no refresh is safe.
        """
        name = (row.credential.connector, row.credential.version)
        kept = self._kept.setdefault(name, _Kept())
        if kept.token and self._clock() < kept.good_until:
            return kept.token
        # A caller that gives up must not interrupt a refresh: what the server has
        # already replaced would be lost.
        task = asyncio.create_task(self._one_at_a_time(kept, row, key))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Let refreshes that are under way end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=TOKEN_S_MAX)

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited has it; if nobody did, nobody misses it.

    async def _one_at_a_time(self, kept: _Kept, row: Sealed, key: bytes) -> bytes:
        async with kept.lock:
            now = self._clock()
            if kept.token and now < kept.good_until:
                return kept.token
            if now < kept.failed_until:
                raise VaultError(kept.problem)
            try:
                found, life_s = await self._new(kept, row, key)
            except (VaultError, StoreError) as error:
                kept.token, kept.problem = b"", str(error)
                kept.failed_until = now + AGAIN_S
                raise
            kept.token = found
            kept.good_until = now + max(life_s - RENEW_BEFORE_S, life_s / 2)
            return found

    def forget(self, credential: Credential, token: bytes) -> None:
        """Drop a token that the upstream no longer takes; the next call gets one."""
        kept = self._kept.get((credential.connector, credential.version))
        if kept is not None and kept.token == token:
            kept.good_until = 0.0

    def secrets_of(self, credential: Credential, secret: bytes) -> tuple[bytes, ...]:
        """Return what an access token is got with, as an answer might hold it."""
        kept = self._kept.get((credential.connector, credential.version), _Kept())
        return (*_given(credential, secret), *kept.refresh_tokens)

    async def _new(self, kept: _Kept, row: Sealed, key: bytes) -> tuple[bytes, float]:
        """Get a token, and have the log know, before anything is done with it."""
        credential, secret = row.credential, open_with(key, row)
        detail: dict[str, Any] = {"version": credential.version}
        try:
            if credential.kind == OAUTH_REFRESH:
                found, noted = await self._refresh(kept, row, key, secret)
            else:
                form = {"grant_type": "client_credentials"}
                said = await self._answer(credential, form, secret)
                found, noted = _token_in(said), False
        except VaultError as error:
            detail["problem"] = str(error)[:200]
            await self._note(EdgeEventKind.REFRESH_FAILED, credential, detail)
            raise
        if not noted:
            await self._note(EdgeEventKind.REFRESHED, credential, detail)
        return found

    async def _note(
        self, kind: EdgeEventKind, credential: Credential, detail: Mapping[str, Any]
    ) -> None:
        event = self._notary.event(kind, credential.connector, detail)
        await self._rows.note(event)

    async def _refresh(
        self, kept: _Kept, row: Sealed, key: bytes, secret: bytes
    ) -> tuple[tuple[bytes, float], bool]:
        """Return an access token, and whether the log was told of it already."""
        credential, noted = row.credential, False
        client_secret, first = secret, secret
        if credential.settings["client_auth"] != "none":
            client_secret, first = pair(secret)
        async with self._rows.rotating(credential) as rotation:
            newest = await rotation.newest()
            seq, token = 0, first
            if newest is not None:
                seq, token = (
                    newest[0],
                    open_rotated(key, credential, newest[1], seq=newest[0]),
                )
            form = {
                "grant_type": "refresh_token",
                "refresh_token": token.decode("ascii"),
            }
            said = await self._answer(credential, form, client_secret)
            kept.refresh_tokens = (token,)
            after = said.get("refresh_token")
            if isinstance(after, str) and after.encode("utf-8") != token:
                if not _TOKEN.fullmatch(after):
                    msg = "the token endpoint sent a refresh token that cannot be used"
                    raise VaultError(msg)
                sealed = seal_rotated(
                    key, credential, after.encode("ascii"), seq=seq + 1,
                    random=secrets.token_bytes,
                )  # fmt: skip
                detail = {"version": credential.version, "count": seq + 1}
                event = self._notary.event(
                    EdgeEventKind.REFRESHED, credential.connector, detail
                )
                await rotation.put(seq + 1, sealed, event)
                noted = True
                kept.refresh_tokens = (token, after.encode("ascii"))
        # Only here is what was put durable, and only now may the token be used. If it
        # cannot be, the next refresh has what the server replaced all the same.
        return _token_in(said), noted

    async def _answer(
        self, credential: Credential, form: Mapping[str, str], client_secret: bytes
    ) -> dict[str, Any]:
        settings = credential.settings
        asked = dict(form)
        for name in ("scope", "resource", "authorization_details"):
            if name in settings:
                asked[name] = settings[name]
        headers = _authenticate(credential, asked, client_secret)
        outgoing = Outgoing(
            method="POST",
            target=urlsplit(settings["token_url"]).path or "/",
            body=urlencode(asked).encode("ascii"),
            headers=headers,
            content_type=b"application/x-www-form-urlencoded",
            key_header="",
            key="",
            fresh=True,
            timeout_s=TOKEN_S_MAX,
            response_bytes_max=TOKEN_ANSWER_BYTES_MAX,
        )
        try:
            answer = await self._ask(_route(credential), outgoing)
        except UpstreamError as error:
            msg = f"the token endpoint: {error.code}"
            raise VaultError(msg) from None
        try:
            said = parse_json(
                answer.body, bytes_max=TOKEN_ANSWER_BYTES_MAX, depth_max=16, floats=True
            )
        except CanonicalError:
            said = None
        if answer.status == _OK and isinstance(said, dict):
            return said
        code = said.get("error") if isinstance(said, dict) else None
        known = isinstance(code, str) and _ERROR.fullmatch(code)
        msg = f"the token endpoint answered {answer.status} {code if known else ''}"
        raise VaultError(msg.rstrip())


def _route(credential: Credential) -> Route:
    """Return the way to the token endpoint; what is sent there has its whole path."""
    endpoint = credential.token_endpoint
    assert endpoint is not None  # noqa: S101  (only kinds with one come here)
    return Route(
        endpoint=replace(endpoint, prefix=""),
        allow_private=credential.allow_private,
        tls=Tls(ca=credential.settings.get("ca", "")),
    )


def _authenticate(
    credential: Credential, form: dict[str, str], secret: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    """Add to a form how the client authenticates, or return the header that does."""
    settings = credential.settings
    client = settings["client_id"]
    match settings["client_auth"]:
        case "basic":
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
            pair_text = (
                f"{quote(client, safe='')}:{quote(secret.decode('ascii'), safe='')}"
            )
            return ((b"Authorization", b"Basic " + b64encode(pair_text.encode())),)
        case "post":
            form |= {"client_id": client, "client_secret": secret.decode("ascii")}
        case "private_key_jwt":
            form |= {
                "client_id": client,
                "client_assertion_type": _ASSERTION_TYPE,
                "client_assertion": _assertion(credential, secret),
            }
        case _:
            form["client_id"] = client
    return ()


def _assertion(credential: Credential, secret: bytes) -> str:
    settings = credential.settings
    audience = settings.get("assertion_audience", settings["token_url"])
    claims = assertion_claims(
        settings["client_id"],
        issuer=audience,
        jti=secrets.token_urlsafe(24),
        now=datetime.now(UTC),
    )
    return sign(claims, key=signing_key(secret), typ="jwt")


def _given(credential: Credential, secret: bytes) -> tuple[bytes, ...]:
    if (
        credential.kind == OAUTH_REFRESH
        and credential.settings["client_auth"] != "none"
    ):
        return pair(secret)
    if credential.settings["client_auth"] == "private_key_jwt":
        return ()
    return (secret,)


def _token_in(said: Mapping[str, Any]) -> tuple[bytes, float]:
    token, kind = said.get("access_token"), said.get("token_type")
    life = said.get("expires_in", LIFE_S_UNSAID)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        msg = "the token endpoint gave a token that is no bearer token"
        raise VaultError(msg)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        # A shorter one could not be looked for in answers.
        msg = f"an access token is visible ASCII, from {SECRET_BYTES_MIN} characters on"
        raise VaultError(msg)
    if type(life) is not int or life <= 0:
        life = LIFE_S_UNSAID
    return token.encode("ascii"), float(min(life, LIFE_S_MAX))

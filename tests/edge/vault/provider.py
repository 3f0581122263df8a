"""A small OAuth provider with client secrets and refresh tokens, for tests.

A refresh token is good once: the next one takes its place. One that is used again ends
the whole family, as RFC 9700 (section 4.14.2) asks of servers.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.edge.fake_upstream import Reply, Seen

CLIENT = "shop%20client"
CLIENT_SECRET = "client-secret-of-the-provider/tests"
FIRST = "refresh-token-of-the-provider-0"


@dataclass
class Provider:
    """Its state; ``answer`` goes into a FakeUpstream."""

    auth: str = "basic"
    life_s: int | None = 3600
    rotates: bool = True
    delay_s: float = 0.0
    current: str = FIRST
    tokens: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    ended: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    status: int = 200

    def answer(self, seen: Seen) -> Reply:
        if seen.method == "GET":
            return self.resource(seen)
        form = {name: one[0] for name, one in parse_qs(seen.body.decode()).items()}
        self.forms.append(form)
        if not self.knows(seen, form):
            return Reply(401, {"error": "invalid_client"})
        if form["grant_type"] == "refresh_token":
            if self.ended or form["refresh_token"] != self.current:
                self.ended = True
                return Reply(400, {"error": "invalid_grant"})
            if self.rotates:
                self.current = f"refresh-token-of-the-provider-{len(self.forms)}"
        self.tokens.append(f"access-{secrets.token_hex(12)}")
        said: dict[str, Any] = {
            "access_token": self.tokens[-1],
            "token_type": "Bearer",
            "refresh_token": self.current,
        }
        if self.life_s is not None:
            said["expires_in"] = self.life_s
        return Reply(self.status, said | self.more, delay_s=self.delay_s)

    def knows(self, seen: Seen, form: dict[str, str]) -> bool:
        if self.auth == "post":
            said = (form.get("client_id"), form.get("client_secret"))
        elif self.auth == "none":
            return form.get("client_id") == CLIENT
        else:
            word, _, coded = seen.headers.get("authorization", "").partition(" ")
            pair = (
                b64decode(coded).decode().partition(":") if word == "Basic" else ("",)
            )
            said = (unquote(pair[0]), unquote(pair[-1]))
        return said == (CLIENT, CLIENT_SECRET)

    def resource(self, seen: Seen) -> Reply:
        bearer = seen.headers.get("authorization", "").removeprefix("Bearer ")
        good = bool(self.tokens) and bearer == self.tokens[-1]
        return Reply(200 if good else 401, {"good": good})

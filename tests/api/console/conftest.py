"""A browser of sorts before the console, over a house's real flow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest_asyncio

from tests.support.approvals.office import Office, open_office
from tests.support.flow.house import ISSUER, House, open_house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from broker.core.words.action import ActionRecord

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
FORM = "application/x-www-form-urlencoded"


@dataclass
class Browser:
    """Keeps a cookie, and posts forms as pages of ours do."""

    office: Office
    http: httpx.AsyncClient

    @property
    def house(self) -> House:
        return self.office.house

    async def link(self, who: str = "alice") -> str:
        """Return the secret of a fresh link."""
        answer = await self.office.call(who, "POST", "/v1/console/links")
        assert answer.status_code == 201, answer.text
        address, _, secret = answer.json()["url"].partition("#")
        assert address == f"{ISSUER}/console/sign-in"
        return secret

    async def sign_in(self, who: str = "alice") -> None:
        """Use a fresh link."""
        answer = await self.post("/console/sign-in", link=await self.link(who))
        assert answer.status_code == 303, answer.text

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, **more)

    async def post(
        self, path: str, *, site: Mapping[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        headers = SAME_SITE if site is None else dict(site)
        return await self.http.post(path, data=fields, headers=headers)

    async def card(self, record: ActionRecord) -> tuple[str, dict[str, str]]:
        """Return the page with a card, and the fields of its form."""
        page = await self.get(f"/console/approvals/{record.approval_id}")
        assert page.status_code == 200, page.text
        fields = dict(
            re.findall(
                r'type="hidden" name="(digest|shown)" value="([^"]*)"', page.text
            )
        )
        return page.text, fields | {"csrf": csrf_of(page.text)}

    async def vote(
        self, record: ActionRecord, word: str, **changes: str
    ) -> httpx.Response:
        """Look at a card and press a button."""
        _, fields = await self.card(record)
        return await self.send(record, word, fields | changes)

    async def send(
        self, record: ActionRecord, word: str, fields: dict[str, str]
    ) -> httpx.Response:
        path = f"/console/approvals/{record.approval_id}/votes"
        headers = SAME_SITE | {"HX-Request": "true"}
        return await self.http.post(
            path, data={"word": word, **fields}, headers=headers
        )


def csrf_of(page: str) -> str:
    """Return what the page's forms carry."""
    [found, *_] = re.findall(r'name="csrf" value="([^"]*)"', page)
    return str(found)


@pytest_asyncio.fixture
async def browser(pg_broker_dsn: str, pg_dsn: str) -> AsyncIterator[Browser]:
    async with (
        open_house(pg_broker_dsn, owner_dsn=pg_dsn) as house,
        open_office(house) as office,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(office.app, raise_app_exceptions=False),
            base_url=ISSUER,
        ) as http,
    ):
        yield Browser(office, http)

"""The way in: one link, one use, one person; and what another site may not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from broker.api.console.parts import FORM_BYTES_MAX, FORM_FIELDS_MAX
from broker.api.console.sessions import SECRET_CHARS_MAX
from broker.core.identity.tickets import TicketKind, ticket_name
from broker.effects.keeping.tickets import TICKETS_PURGED_MAX
from tests.api.console.conftest import SAME_SITE, csrf_of
from tests.support.approvals.voters import change_person

if TYPE_CHECKING:
    from tests.api.console.conftest import Browser


async def test_a_link_lets_its_person_in_once(browser: Browser) -> None:
    secret = await browser.link()
    answer = await browser.post("/console/sign-in", link=secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("counterfoil-8400=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {*cookie.split("; ")}
    assert secret not in cookie
    assert "alice" in (await browser.get("/console")).text
    browser.http.cookies.clear()
    again = await browser.post("/console/sign-in", link=secret)
    assert again.status_code == 401
    assert "used before" in again.text
    assert "set-cookie" not in again.headers
    assert secret not in again.text


async def test_without_a_script_the_whole_link_is_pasted_and_lets_in_once(
    browser: Browser,
) -> None:
    page = (await browser.get("/console/sign-in")).text
    pasted = page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert '<form method="post" action="/console/sign-in"' in pasted
    link = f" {browser.office.app.state.issuer}/console/sign-in#{await browser.link()} "
    answer = await browser.post("/console/sign-in", link=link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    assert (await browser.post("/console/sign-in", link=link)).status_code == 401


async def test_behind_https_the_cookie_belongs_to_this_host_alone(
    browser: Browser,
) -> None:
    room = browser.office.app.state.console
    secret = await browser.link()
    room.issuer = "https://broker.example"
    answer = await browser.post("/console/sign-in", link=secret)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-counterfoil=")
    assert "Secure" in cookie
    room.issuer = "http://broker.example"
    answer = await browser.office.call("alice", "POST", "/v1/console/links")
    assert answer.status_code == 403
    assert "https" in answer.json()["detail"]


async def test_a_row_that_the_broker_did_not_sign_lets_nobody_in(
    browser: Browser,
) -> None:
    await browser.sign_in()
    house = browser.house
    signed = await house.database.value("SELECT signed FROM console_ticket LIMIT 1")
    for secret, kind in (("mine", TicketKind.SESSION), ("mine", TicketKind.LINK)):
        await browser.office.app.state.console.tickets.keep(
            ticket_name(kind, secret),
            kind=kind.value,
            signed=signed,
            expires_at=house.ports.clock.now() + timedelta(hours=1),
        )
    browser.http.cookies.clear()
    browser.http.cookies.set("counterfoil-8400", "mine")
    assert (await browser.get("/console")).headers["location"] == "/console/sign-in"
    assert (await browser.post("/console/sign-in", link="mine")).status_code == 401


async def test_a_session_ends_when_its_person_signs_out_or_is_suspended(
    browser: Browser,
) -> None:
    await browser.sign_in()
    page = await browser.get("/console")
    answer = await browser.post("/console/sign-out", csrf=csrf_of(page.text))
    assert answer.headers["location"] == "/console/sign-in"
    # The cookie is gone from this browser, and worth nothing in any other.
    assert (await browser.get("/console")).status_code == 303
    await browser.sign_in()
    assert (await browser.get("/console")).status_code == 200
    await change_person(browser.house, "alice", status="suspended")
    assert (await browser.get("/console")).status_code == 303
    part = await browser.get("/console/queue", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/console/sign-in")
    assert (await browser.get("/console/events")).status_code == 401


async def test_production_lets_nobody_in_by_a_link_and_says_so(
    browser: Browser,
) -> None:
    secret = await browser.link()
    browser.office.app.state.console.key = None
    refused = await browser.office.call("alice", "POST", "/v1/console/links")
    assert refused.status_code == 403
    assert "demo states only" in refused.json()["detail"]
    assert (await browser.post("/console/sign-in", link=secret)).status_code == 403
    page = await browser.get("/console/sign-in")
    assert "stamped production" in " ".join(page.text.split())


async def test_another_site_changes_nothing(browser: Browser) -> None:
    secret = await browser.link()
    for site in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil"}, {}):
        answer = await browser.post("/console/sign-in", site=site, link=secret)
        assert answer.status_code == 403, site
    own = {"Origin": "http://127.0.0.1:8400"}
    answer = await browser.post("/console/sign-in", site=own, link=secret)
    assert answer.status_code == 303
    for csrf in ("", "0" * 64):
        answer = await browser.post("/console/sign-out", csrf=csrf)
        assert answer.status_code == 403
    assert (await browser.get("/console")).status_code == 200


FORMS = [
    (b"link=" + b"x" * (FORM_BYTES_MAX - 5), 401),
    (b"link=" + b"x" * (FORM_BYTES_MAX - 4), 413),
    (b"&".join(b"f%d=1" % n for n in range(FORM_FIELDS_MAX)), 401),
    (b"&".join(b"f%d=1" % n for n in range(FORM_FIELDS_MAX + 1)), 400),
    (b"link=a&link=b", 400),
    (b"link=\xff", 400),
    (b"link=" + b"x" * (SECRET_CHARS_MAX + 1), 401),
    (b"", 401),
]


async def test_a_form_has_limits(browser: Browser) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, status in FORMS:
        answer = await browser.http.post(
            "/console/sign-in", content=body, headers=SAME_SITE | form
        )
        assert answer.status_code == status, body[:20]
    answer = await browser.http.post(
        "/console/sign-in", json={"link": "x"}, headers=SAME_SITE
    )
    assert answer.status_code == 400


async def test_tickets_that_have_ended_are_forgotten(browser: Browser) -> None:
    await browser.sign_in()
    count = "SELECT count(*) FROM console_ticket"
    assert await browser.house.database.value(count) == 2
    tickets = browser.office.app.state.console.tickets
    now = browser.house.ports.clock.now()
    for number in range(3):
        old = {"kind": "link", "signed": "x", "expires_at": now - timedelta(hours=1)}
        await tickets.keep(bytes([number]) * 32, **old)
    await tickets.keep(bytes([9]) * 32, kind="link", signed="x", expires_at=now)
    assert await browser.house.database.value(count) == 3
    assert TICKETS_PURGED_MAX > 3

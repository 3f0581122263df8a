"""Pages: what others wrote stays text, no other script runs, assets are vendored."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.console.assets import FOLDER, asset, asset_path
from broker.api.console.drawing import bar, fullest, lasting, page, plain, units
from tests.support.approvals.voters import large_refund

if TYPE_CHECKING:
    from typing import Any

    from tests.api.console.conftest import Browser


async def test_no_script_but_ours_runs_and_what_others_write_stays_text(
    browser: Browser,
) -> None:
    record = await large_refund(browser.house)
    where = record.request.interaction_id
    interaction = await browser.house.ports.store.interaction(where)
    assert interaction is not None
    await browser.house.say(interaction, "<script>alert(1)</script>\u202e\nnew line")
    await browser.sign_in()
    answer = await browser.get(f"/console/approvals/{record.approval_id}")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    [nonce] = re.findall(r"script-src 'nonce-([^']+)'", policy)
    scripts = re.findall(r"<script[^>]*>", answer.text)
    assert scripts == [
        f'<script nonce="{nonce}" src="{asset_path("console.js")}" defer>'
    ]
    assert not re.search(r"\s(?:on\w+|style)=", answer.text)
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "\ufffd\nnew line" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    again = await browser.get(f"/console/approvals/{record.approval_id}")
    assert nonce not in again.text


async def test_assets_are_served_under_the_name_of_their_content(
    browser: Browser,
) -> None:
    for name in ("console.js", "console.css", "icon.svg"):
        answer = await browser.get(asset_path(name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("0/console.js", "0/manifest.json", "0/..%2Froutes.py"):
        answer = await browser.get(f"/console/assets/{path}")
        assert answer.status_code == 404
    assert asset("manifest.json") is None


def test_the_vendored_file_is_made_of_exactly_what_its_manifest_names() -> None:
    folder = FOLDER / "vendor"
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / manifest["file"]).read_bytes()
    assert sha256(data).hexdigest() == manifest["sha256"]
    for part in manifest["parts"]:
        piece, data = data[: part["bytes"]], data[part["bytes"] :]
        assert sha256(piece).hexdigest() == part["sha256"], part["name"]
        data = data.removeprefix(manifest["joined_by"].encode())
    assert data == b""
    licence = (folder / manifest["license_file"]).read_text()
    assert licence.startswith("Zero-Clause BSD")
    shipped = {path.name for path in folder.iterdir()}
    assert shipped == {"manifest.json", manifest["file"], manifest["license_file"]}


def test_every_element_that_htmx_acts_on_carries_the_pages_nonce() -> None:
    for template in (FOLDER.parent / "templates").rglob("*.html"):
        for tag in re.findall(r"<\w[^>]*\shx-[^>]*>", template.read_text()):
            assert 'hx-nonce="{{ nonce }}"' in tag, f"{template.name}: {tag}"


def test_the_sign_in_page_names_its_own_way_only() -> None:
    demo = bytes(page("sign_in.html", {"demo": True}).body).decode()
    assert "data-sign-in" in demo
    production = bytes(page("sign_in.html", {"demo": False}).body).decode()
    assert "data-sign-in" not in production


amounts = st.integers(0, 10**9)


@given(posted=amounts, held=amounts, this=st.integers(1, 10**9), limit=amounts)
def test_a_bar_never_hides_what_is_over(
    posted: int, held: int, this: int, limit: int
) -> None:
    made = bar(budget(posted=posted, held_by_others=held, this=this, limit=limit))
    parts = [made[name] for name in ("posted", "held", "this", "over")]
    assert all(0 <= part <= 100 for part in parts)
    assert sum(parts) <= 100.05
    after = posted + held + this
    assert (made["over"] > 0) == (100 * max(0, after - limit) / after > 0.005)


def test_what_is_over_leads_and_the_fullest_follows() -> None:
    empty, full = budget(rule="empty", limit=10_000), budget(rule="full", limit=101)
    over = budget(rule="over", limit=99_999, over=True)
    assert [one["rule"] for one in fullest([empty, over, full])] == [
        "over",
        "full",
        "empty",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3_660, "1 h 01 min")],
)
def test_time_reads_as_people_say_it(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_amounts_and_texts_read_as_what_they_are() -> None:
    assert units(5, "count") == "5"
    assert units(123_456, "USD") == "1,234.56 USD"
    assert plain("a\u202eb\x1b[2J\nc") == "a\ufffdb\ufffd[2J\nc"


def budget(**changes: Any) -> dict[str, Any]:
    return {
        "rule": "agent-day",
        "unit": "USD",
        "window": "day",
        "limit": 1_000,
        "posted": 50,
        "held_by_others": 0,
        "this": 50,
        "over": False,
    } | changes

"""A subscription's row: mail to one person, anything else to nobody in particular."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.notices.schedule import PER_HOUR_MAX
from broker.core.words.notice import NoticeForm, NoticeKind
from broker.registry.authority import AuthorityRow
from broker.registry.notices.subscriptions import (
    parse_subscription,
    subscription_body,
)
from broker.registry.reading import RowError

PERSON = "0197a000-0000-7000-8000-0000000000b1"
HOOK: dict[str, Any] = {
    "form": "event",
    "connector": "notify_ops",
    "role": "supervisor",
    "person": "",
    "kinds": ["asked", "expired"],
    "per_hour": 60,
    "address": "",
    "address_sha256": "",
    "status": "active",
}
MAIL: dict[str, Any] = HOOK | {
    "form": "mail",
    "role": "",
    "person": PERSON,
    "address": PERSON.replace("b1", "d1"),
    "address_sha256": "0" * 64,
}


def read(body: dict[str, Any]):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return parse_subscription(
        AuthorityRow("subscription", "s-1", 3, at, ("bootstrap",), "demo", "dev", body)
    )


@pytest.mark.parametrize("body", [HOOK, MAIL])
def test_what_is_written_is_what_is_read(body) -> None:
    found = read(body)
    assert subscription_body(found) == body
    assert (found.subscription_id, found.revision) == ("s-1", 3)
    assert found.kinds == {NoticeKind.ASKED, NoticeKind.EXPIRED}
    assert found.form is NoticeForm(body["form"])


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (HOOK, {"connector": "retail"}),
        (HOOK, {"connector": "notify_"}),
        (HOOK, {"form": "fax"}),
        (HOOK, {"role": "king"}),
        (HOOK, {"kinds": ["test"]}),
        (HOOK, {"kinds": ["asked", "asked2"]}),
        (HOOK, {"per_hour": 0}),
        (HOOK, {"per_hour": PER_HOUR_MAX + 1}),
        (HOOK, {"person": PERSON}),
        (HOOK, {"address": PERSON}),
        (HOOK, {"status": "asleep"}),
        (HOOK, {"url": "https://evil.test"}),
        (MAIL, {"person": ""}),
        (MAIL, {"address": ""}),
        (MAIL, {"address": "bob@shop.test"}),
        (MAIL, {"address_sha256": "0" * 63}),
        (MAIL, {"role": "supervisor"}),
    ],
)
def test_a_row_that_says_something_else_does_not_count(body, change) -> None:
    with pytest.raises(RowError):
        read(body | change)


def test_the_cap_may_be_as_high_as_the_limit() -> None:
    assert read(HOOK | {"per_hour": PER_HOUR_MAX}).per_hour == PER_HOUR_MAX

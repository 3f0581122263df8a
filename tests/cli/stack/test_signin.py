"""The link that `up` shows: a demo state has somebody to let in, or says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.cli.stack import signin
from broker.cli.stack.detach import Reporter
from broker.cli.stack.events import Event, Link, Said, from_json, to_json


async def test_a_state_without_a_stack_gives_no_link_and_says_why(
    tmp_path: Path,
) -> None:
    assert not signin.offered(tmp_path)
    path = tmp_path / "clients" / "people" / f"{signin.DEMO_PERSON}.jwk"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert signin.offered(tmp_path)
    with pytest.raises(signin.NoLinkError, match=r"alice\.jwk"):
        await signin.make(tmp_path, environment=os.environ)
    assert signin.LINK_S_MAX > 0


def test_whoever_waits_for_the_start_gets_the_link_and_the_log_does_not() -> None:
    told: list[Event] = []

    class Log:
        def tell(self, event: Event) -> None:
            told.append(event)

    reading, writing = os.pipe()
    reporter = Reporter(writing, Log())
    link = Link(url="http://127.0.0.1:8400/console/sign-in#secret", person="alice")
    reporter.tell(Said("hello"))
    reporter.tell(link)
    reporter.started()
    with os.fdopen(reading) as lines:
        assert [from_json(line) for line in lines] == [Said("hello"), link]
    assert told == [Said("hello")]
    assert from_json(to_json(link)) == link

"""Rows are read once per revision; one that cannot be read is nobody, every time."""

from __future__ import annotations

from broker.effects.parsed import PARSED_MAX, Parsed
from broker.registry.agents import parse_agent
from broker.registry.reading import RowError
from tests.support.identity.rows import AGENT_BODY, row_of


def test_a_row_is_read_once_and_another_revision_anew():
    read = []

    def parse(row):
        read.append(row.revision)
        return parse_agent(row)

    parsed = Parsed(parse)
    for revision in (1, 1, 2, 1):
        agent = parsed.of(row_of(AGENT_BODY, revision=revision))
        assert agent is not None
        assert agent.revision == revision
    assert read == [1, 2]


def test_a_row_that_cannot_be_read_is_nobody_and_is_not_tried_again():
    tried = []

    def parse(row):
        tried.append(row)
        msg = "no"
        raise RowError(msg)

    parsed = Parsed(parse)
    assert parsed.of(row_of({})) is None
    assert parsed.of(row_of({})) is None
    assert len(tried) == 1
    assert parsed.of(None) is None


def test_no_more_than_the_limit_are_kept_and_the_latest_used_stay():
    read: list[int] = []

    def parse(row):
        read.append(row.revision)
        return row

    parsed = Parsed(parse)
    for revision in range(1, PARSED_MAX + 1):
        parsed.of(row_of(AGENT_BODY, revision=revision))
    parsed.of(row_of(AGENT_BODY, revision=1))
    parsed.of(row_of(AGENT_BODY, revision=PARSED_MAX + 1))
    before = len(read)
    parsed.of(row_of(AGENT_BODY, revision=1))
    assert len(read) == before
    parsed.of(row_of(AGENT_BODY, revision=2))
    assert len(read) == before + 1

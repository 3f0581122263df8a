"""Moments have one written form, which reads back to the same instant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.moment import read_moment, write_moment

zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
seconds = st.integers(0, 253_000_000_000_000_000)
moments = st.builds(
    lambda zone, micros: (
        datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    ).astimezone(zone),
    zones,
    seconds,
)


@given(moments)
def test_a_written_moment_reads_back_to_the_same_instant(moment):
    text = write_moment(moment)
    assert text.endswith("Z")
    assert len(text) == 27
    assert read_moment(text) == moment


@given(moments, moments)
def test_written_moments_sort_as_the_instants_do(one, other):
    assert (write_moment(one) < write_moment(other)) is (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00",
        "2026-11-23T12:00:00+00:00",
        "2026-11-23t12:00:00z",
        "2026-11-23 12:00:00Z",
        "2026-11-23T12:00:00.Z",
        "2026-11-23T12:00:00.1234567Z",
        "2026-13-23T12:00:00Z",
        "2026-11-23T25:00:00Z",
        "20261123T120000Z",
        "2026-11-23T12:00:00Z\n",
        "\u0662026-11-23T12:00:00Z",
        "",
        1763899200,
        None,
    ],
)
def test_another_form_is_refused(text):
    with pytest.raises(ValueError, match=r"RFC 3339|month|hour|time"):
        read_moment(text)


def test_a_naive_moment_is_not_written():
    with pytest.raises(ValueError, match="time zone"):
        write_moment(datetime(2026, 11, 23))  # noqa: DTZ001

"""Checkpoints: three lines, signed by the log that they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.checkpoint import (
    Checkpoint,
    CheckpointError,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from broker.core.transparency.merkle import EMPTY_ROOT, SIZE_MAX
from broker.core.transparency.signed_note import NoteVerifier, sign_note
from tests.support.log.made import LOG, LOG_KEY, ORIGIN

ROOT = bytes(range(32))
TEXT = Checkpoint(ORIGIN, 42, ROOT).text


@given(st.integers(1, SIZE_MAX), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_opens_to_what_was_signed(size, root):
    head = Checkpoint(ORIGIN, size, root)
    assert open_checkpoint(sign_checkpoint(head, LOG_KEY), LOG) == head


def test_the_text_is_the_three_lines_of_the_standard() -> None:
    assert TEXT == (
        "counterfoil.example/demo\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )


def test_the_empty_log_has_a_checkpoint_with_one_root() -> None:
    assert Checkpoint(ORIGIN, 0, EMPTY_ROOT).text.startswith(f"{ORIGIN}\n0\n47DEQ")
    with pytest.raises(CheckpointError, match="one root"):
        Checkpoint(ORIGIN, 0, ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "", TEXT[:-1], TEXT + "\n", TEXT + "extension\n", TEXT[len(ORIGIN) :],
        TEXT.replace("42", "042"), TEXT.replace("42", "-1"), TEXT.replace("42", "+42"),
        TEXT.replace("42", ""), TEXT.replace("42", "\u0664\u0662"),
        TEXT.replace("42", str(SIZE_MAX + 1)), TEXT.replace("42", "9" * 5000),
        TEXT.replace("42", "0"), TEXT.replace("Hh8=", "Hh8"), TEXT.replace("=", "=="),
        TEXT.replace("AAEC", ""), TEXT.replace("Hh8=", "Hh9="),
    ],
)  # fmt: skip
def test_any_other_text_is_refused(text):
    with pytest.raises(CheckpointError):
        parse_checkpoint(text)


def test_a_head_that_no_log_has_cannot_be_made() -> None:
    for origin, size, root in (
        ("", 1, ROOT),
        ("a\nb", 1, ROOT),
        (ORIGIN, -1, ROOT),
        (ORIGIN, SIZE_MAX + 1, ROOT),
        (ORIGIN, 1, ROOT[:31]),
    ):
        with pytest.raises(CheckpointError):
            Checkpoint(origin, size, root)


def test_the_largest_log_has_a_checkpoint() -> None:
    text = TEXT.replace("42", str(SIZE_MAX))
    assert parse_checkpoint(text).size == SIZE_MAX


def test_a_checkpoint_of_another_log_is_refused_even_with_a_known_key() -> None:
    other = Checkpoint("other.example/log", 42, ROOT)
    note = sign_note(other.text, name=ORIGIN, key=LOG_KEY)
    with pytest.raises(CheckpointError, match="is of other"):
        open_checkpoint(note, LOG)


def test_a_checkpoint_that_its_log_did_not_sign_is_refused() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 42, ROOT), LOG_KEY)
    stranger = NoteVerifier("stranger.example", LOG.public)
    with pytest.raises(CheckpointError, match="no known key"):
        open_checkpoint(note, stranger)
    with pytest.raises(CheckpointError, match="verify"):
        open_checkpoint(note.replace("\n42\n", "\n43\n"), LOG)


def test_a_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(CheckpointError, match="three lines"):
        open_checkpoint(sign_note("hello\n", name=ORIGIN, key=LOG_KEY), LOG)

"""The notary: signs what follows, refuses what does not, survives any crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.transparency.checkpoint import Checkpoint, open_checkpoint
from broker.core.transparency.merkle import root_of
from broker.core.transparency.signing import (
    SignRequest,
    parse_signer_head,
    sign_request_message,
)
from broker.signer.files import DamagedError, Files, Order, write_order
from broker.signer.notary import Notary
from tests.support.log.tree import LEAVES, defined_consistency

NAME = "counterfoil.example/demo"


def ask(notary: Notary, size: int, *, leaves=LEAVES, old: int | None = None):
    last = notary.head.last
    since = last.size if old is None else old
    head = Checkpoint(last.origin, size, root_of(leaves[:size]))
    proof = tuple(defined_consistency(since, leaves[:size]) if since <= size else ())
    return notary.answer(sign_request_message(SignRequest(head, since, proof)))


def code(answer):
    assert answer["ok"] is False
    return answer["error"]["code"]


def test_each_growth_of_the_log_is_signed_and_kept(files):
    notary = Notary(files, name=NAME)
    for size in (0, 1, 2, 7, 7, 300):
        answer = ask(notary, size)
        head = open_checkpoint(answer["note"], notary.head.log)
        assert head == Checkpoint(notary.head.log.name, size, root_of(LEAVES[:size]))
        assert Notary(files, name=NAME).head.last == head


def test_the_head_says_what_was_signed_last(files):
    notary = Notary(files, name=NAME)
    ask(notary, 5)
    head = parse_signer_head(notary.answer({"op": "head"}))
    assert head == notary.head
    assert head.last.size == 5


def test_a_database_restored_from_an_older_backup_finds_nobody_to_sign(files):
    notary = Notary(files, name=NAME)
    ask(notary, 10)
    assert code(ask(notary, 7)) == "shrunk"
    rewritten = [*LEAVES[:7], *LEAVES[100:200]]
    assert code(ask(notary, 12, leaves=rewritten)) == "inconsistent"
    assert ask(notary, 12)["ok"] is True


def test_one_size_is_never_signed_with_two_roots(files):
    notary = Notary(files, name=NAME)
    first = ask(notary, 4)
    assert ask(notary, 4) == first
    assert code(ask(notary, 4, leaves=LEAVES[50:])) == "inconsistent"


def test_what_is_no_request_is_refused(files):
    notary = Notary(files, name=NAME)
    for message in ({}, {"op": "sign"}, {"op": "key"}, {"op": None}, {"op": ["sign"]}):
        assert code(notary.answer(message)) == "malformed"
    head = Checkpoint("other.example", 1, root_of(LEAVES[:1]))
    other = sign_request_message(SignRequest(head, 0, ()))
    assert code(notary.answer(other)) == "wrong_origin"


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12))
@settings(max_examples=30)
def test_no_order_of_requests_and_restarts_makes_two_logs(tmp_path_factory, steps):
    files = Files(tmp_path_factory.mktemp("signer") / "s")
    notary = Notary(files, name=NAME)
    signed: dict[int, bytes] = {0: root_of([])}
    for size, other in steps:
        leaves = LEAVES[500:] if other else LEAVES
        answer = ask(notary, size, leaves=leaves)
        if answer["ok"]:
            head = open_checkpoint(answer["note"], notary.head.log)
            assert signed.setdefault(size, head.root) == head.root
            assert size == max(signed)
        notary = Notary(files, name=NAME)
        assert notary.head.last.size == max(signed)
    files.close()


class CrashError(Exception):
    """The process is gone."""


class CrashingFiles(Files):
    """Dies before or after a head was kept, as a kill -9 would."""

    before = False

    def keep_head(self, note: str) -> None:
        if self.before:
            raise CrashError
        super().keep_head(note)
        raise CrashError


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_between_writing_and_answering_loses_nothing(folder, before):
    files = Files(folder)
    origin = Notary(files, name=NAME).head.log.name
    files.close()
    crashing = CrashingFiles(folder)
    crashing.before = before
    with pytest.raises(CrashError):
        ask(Notary(crashing, name=NAME), 6)
    crashing.close()
    files = Files(folder)
    notary = Notary(files, name=NAME)
    assert notary.head.last.size == (0 if before else 6)
    # The same question, asked again, has the same answer; another past has none.
    assert ask(notary, 6)["ok"] is True
    assert code(ask(notary, 6, leaves=LEAVES[9:])) == "inconsistent"
    assert notary.head.log.name == origin
    files.close()


def test_a_head_that_could_not_be_written_is_not_given_out(files, folder):
    notary = Notary(files, name=NAME)
    (folder / ".head.note.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        ask(notary, 3)
    assert notary.head.last.size == 0
    (folder / ".head.note.new").rmdir()
    assert ask(notary, 3)["ok"] is True


def test_a_new_origin_is_opened_by_order_only_and_remembers_the_old_one(files, folder):
    known: list[str] = []
    notary = Notary(files, name=NAME, publish=lambda head: known.append(head.log.name))
    ask(notary, 10)
    old = notary.head
    write_order(folder, Order("restored from Monday", "2026-11-23T00:00:00Z"))
    head = parse_signer_head(notary.answer({"op": "head"}))
    assert head.log.name != old.log.name
    assert head.last.size == 0
    assert [each.last for each in head.former] == [old.last]
    assert head.former[0].reason == "restored from Monday"
    assert head.verifiers == (head.log, old.log)
    assert known == [old.log.name, head.log.name]
    # The restored, shorter log is signed for under the new name.
    assert ask(notary, 7)["ok"] is True
    assert Notary(files, name=NAME).head.former == head.former


def test_an_order_is_carried_out_once_even_if_the_signer_dies_in_between(files, folder):
    notary = Notary(files, name=NAME)
    ask(notary, 3)
    order = Order("restored", "2026-11-23T00:00:00Z")
    write_order(folder, order)
    renewed = Notary(files, name=NAME).head
    # If it died before removing the order, the order is found again.
    write_order(folder, order)
    assert Notary(files, name=NAME).head == renewed
    assert files.order() is None


def test_a_lost_head_is_overcome_by_order(files, folder):
    notary = Notary(files, name=NAME)
    ask(notary, 3)
    (folder / "head.note").unlink()
    with pytest.raises(DamagedError):
        Notary(files, name=NAME)
    write_order(folder, Order("the disk died", "2026-11-23T00:00:00Z"))
    renewed = Notary(files, name=NAME)
    assert renewed.head.former[0].vkey == notary.head.log.vkey
    assert ask(renewed, 2)["ok"] is True

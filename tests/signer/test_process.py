"""The signer as it runs: its socket, its limits, and kill -9 at the worst moment."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.core.transparency.checkpoint import Checkpoint, open_checkpoint
from broker.core.transparency.merkle import root_of
from broker.core.transparency.signed_note import parse_vkey
from broker.core.transparency.signing import (
    REASON_CHARS_MAX,
    SIGNER_FRAME_MAX,
    SignRequest,
    parse_signer_head,
    sign_request_message,
)
from broker.signer.server import BODY_S_MAX, CLIENTS_MAX
from tests.support import source
from tests.support.log.signer import SignerProcess
from tests.support.log.tree import LEAVES, defined_consistency

# The signer, but it is killed once a head is on disk and before it is answered.
DIES_AFTER_WRITING = """
import os, signal, sys
from broker.signer import files
from broker.signer.__main__ import main
kept = files.Files.keep_head
def keep_and_die(self, note):
    kept(self, note)
    if note.split("\\n")[1] == "5":
        os.kill(os.getpid(), signal.SIGKILL)
files.Files.keep_head = keep_and_die
sys.exit(main([]))
"""


def head_of(signer: SignerProcess):
    return parse_signer_head(signer.ask({"op": "head"}))


def sign(signer: SignerProcess, size: int, leaves=LEAVES):
    last = head_of(signer).last
    head = Checkpoint(last.origin, size, root_of(leaves[:size]))
    old = min(last.size, size)
    proof = tuple(defined_consistency(old, leaves[:size]))
    return signer.ask(sign_request_message(SignRequest(head, last.size, proof)))


def test_it_signs_over_its_socket_and_publishes_its_key(signer):
    signer.start()
    answer = sign(signer, 9)
    vkeys = (signer.state / "public/signer/log.vkeys").read_text().split()
    head = open_checkpoint(answer["note"], parse_vkey(vkeys[0]))
    assert head.size == 9
    assert stat.S_IMODE(Path(signer.socket).stat().st_mode) == 0o600


def test_killed_between_writing_and_answering_it_gives_the_same_answer_again(signer):
    signer.start(code=DIES_AFTER_WRITING)
    sign(signer, 3)
    with pytest.raises(ConnectionError):
        sign(signer, 5)
    assert signer.wait() == -9
    signer.start()
    assert head_of(signer).last.size == 5
    assert sign(signer, 5)["ok"] is True
    assert sign(signer, 5, leaves=LEAVES[7:])["error"]["code"] == "inconsistent"
    assert sign(signer, 4)["error"]["code"] == "shrunk"


def test_killed_at_any_moment_it_knows_what_it_gave_out(signer):
    signer.start()
    for size in (1, 4, 6):
        note = sign(signer, size)["note"]
        signer.kill()
        signer.start()
        assert open_checkpoint(note, head_of(signer).log) == head_of(signer).last


def test_it_stops_when_asked_and_takes_its_socket_along(signer):
    signer.start()
    assert signer.stop() == 0
    assert not Path(signer.socket).exists()
    assert '"event": "stopped"' in signer.log()


def test_a_second_signer_on_the_same_state_does_not_start(signer):
    signer.start()
    second = subprocess.run(
        [sys.executable, "-P", "-m", "broker.signer"],
        env=signer.environment(),
        cwd=source.TOP,
        capture_output=True,
        check=False,
        text=True,
    )
    assert second.returncode == 1
    assert "another signer" in second.stderr
    assert head_of(signer).last.size == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        (SIGNER_FRAME_MAX + 1).to_bytes(4, "big"),
        b"\0\0\0\2[]",
        b"\0\0\0\3{a}",
        b"\0\0\0\17" + b'{"a":1,"a":1}  ',
    ],
)
def test_a_peer_that_breaks_the_form_is_cut_off_and_nobody_else(signer, data):
    signer.start()
    signer.send(data)
    with pytest.raises(ConnectionError):
        signer.receive(1)
    signer.connect()
    assert head_of(signer).last.size == 0


def test_a_peer_that_stops_in_the_middle_is_cut_off_in_time(signer):
    signer.start()
    signer.send(b"\0\0\1\0{")
    started = time.monotonic()
    with pytest.raises(ConnectionError):
        signer.receive(1)
    assert time.monotonic() - started < BODY_S_MAX + 2


def test_clients_past_the_limit_are_turned_away_and_the_others_served(signer):
    signer.start()
    clients = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS_MAX)]
    for client in clients:
        client.connect(signer.socket)
    # The helper's own connection is one of those that are served.
    clients[-1].settimeout(5)
    assert clients[-1].recv(1) == b""
    assert head_of(signer).last.size == 0
    for client in clients:
        client.close()
    signer.connect()
    assert head_of(signer).last.size == 0


def test_a_message_at_the_largest_size_is_answered(signer):
    signer.start()
    body = b'{"op":"head"}'.ljust(SIGNER_FRAME_MAX)
    signer.send(len(body).to_bytes(4, "big") + body)
    assert signer.receive(4)


def test_recover_opens_a_new_origin_while_it_runs(signer):
    signer.start()
    sign(signer, 9)
    old = head_of(signer).log
    assert signer.recover("restored from the backup of Monday") == 0
    head = head_of(signer)
    assert [each.vkey for each in head.former] == [old.vkey]
    assert sign(signer, 4)["ok"] is True
    vkeys = (signer.state / "public/signer/log.vkeys").read_text().split()
    assert vkeys == [head.log.vkey, old.vkey]


def test_recover_wants_a_reason_in_one_line(signer):
    signer.start()
    origin = head_of(signer).log.name
    for reason in ("", "a\nb", "x" * (REASON_CHARS_MAX + 1)):
        assert signer.recover(reason) == 2
    assert head_of(signer).log.name == origin
    assert signer.recover("x" * REASON_CHARS_MAX) == 0
    assert head_of(signer).log.name != origin


def test_without_its_environment_it_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.signer"],
        env={"PYTHONPATH": str(source.TOP), "COUNTERFOIL_STATE": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert "COUNTERFOIL_SIGNER_SOCKET is not set" in done.stderr

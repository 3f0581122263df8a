"""Go's checksum database packages, unmodified, verify what we sign and prove."""

from __future__ import annotations

import json
import os
import random
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.core.transparency.checkpoint import Checkpoint, sign_checkpoint
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.transparency.proofs import (
    check_consistency,
    prove_consistency,
    prove_inclusion,
)
from broker.core.transparency.signed_note import open_note, parse_vkey
from broker.core.transparency.tlog_proof import TlogProof
from broker.effects.ledger import SignerClient
from tests.support.log.ledger import RealLedger
from tests.support.log.made import LOG, LOG_KEY, ORIGIN, leaf
from tests.support.log.signer import SignerProcess
from tests.support.log.tree import defined_root

SOURCE = Path(__file__).parent / "go" / "tlogcheck" / "main.go"
DEBIAN_GOPATH = "/usr/share/gocode"
LEAVES = [f"entry {number}".encode() for number in range(300)]
HASHES = [leaf_hash(each) for each in LEAVES]
SIZES = [1, 2, 3, 7, 8, 9, 255, 256, 257, 300]


class Go:
    """Asks the Go program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        question = {"do": do} | {name: _plain(value) for name, value in fields.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def accepts(self, do: str, **fields: Any) -> bool:
        answer = self.ask(do, **fields)
        assert answer["ok"] or answer["error"]
        return bool(answer["ok"])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    """Build the program from Debian's packages, without modules or a network."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "tlogcheck"
    subprocess.run(
        ["go", "build", "-o", program, SOURCE],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GOPATH": DEBIAN_GOPATH,
            "GOCACHE": str(folder / "cache"),
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOPROXY": "off",
        },
        check=True,
        timeout=300,
    )
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Go(process)
        assert process.stdin is not None
        process.stdin.close()


def read(nodes):
    return [
        defined_root(HASHES[node.index << node.level : (node.index + 1) << node.level])
        for node in nodes
    ]


def head(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(HASHES[:size]))


def proof(index: int, size: int) -> TlogProof:
    note = sign_checkpoint(head(size), LOG_KEY)
    return TlogProof(index, prove_inclusion(index, size, read), note)


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


@pytest.mark.control("M12")
def test_go_opens_our_checkpoint_and_refuses_a_tampered_one(go):
    note = sign_checkpoint(head(257), LOG_KEY)
    assert go.ask("open", note=note, vkey=LOG.vkey)["text"] == head(257).text
    for old, new in (("\n257\n", "\n258\n"), (ORIGIN, "x" + ORIGIN[1:])):
        assert not go.accepts("open", note=note.replace(old, new), vkey=LOG.vkey)


def test_we_open_a_note_that_go_signed(go):
    signed = go.ask("sign", text="from Go\n", name="go.example/log")
    verifier = parse_vkey(signed["vkey"])
    assert open_note(signed["text"], [verifier]) == "from Go\n"
    assert verifier.vkey == signed["vkey"]


@pytest.mark.control("M12")
@pytest.mark.parametrize("size", SIZES)
def test_go_accepts_the_proof_of_every_entry_and_of_no_other(go, size):
    step = max(1, size // 7)
    for index in {*range(0, size, step), size - 1}:
        text = proof(index, size).text
        ask = {"vkey": LOG.vkey, "proof": text, "leaf": LEAVES[index]}
        assert go.accepts("inclusion", **ask)
        assert not go.accepts("inclusion", **ask | {"leaf": LEAVES[index] + b"!"})
        other = text.replace(f"index {index}\n", f"index {index + 1}\n")
        assert not go.accepts("inclusion", **ask | {"proof": other})


@pytest.mark.control("M12")
def test_go_refuses_a_proof_with_any_byte_changed(go):
    raw = proof(100, 257).text.encode()
    chance = random.Random(7)
    # Go ignores loose bits before a "=", which change no value; we refuse those too.
    places = [at for at in range(len(raw)) if raw[at + 1 : at + 2] != b"="]
    for at in chance.sample(places, 300):
        flipped = flip(raw[at : at + 1], chance)
        text = (raw[:at] + flipped + raw[at + 1 :]).decode("utf-8", "replace")
        ask = {"vkey": LOG.vkey, "proof": text, "leaf": LEAVES[100]}
        assert not go.accepts("inclusion", **ask), text


@pytest.mark.parametrize("new", SIZES)
def test_go_accepts_our_consistency_proofs_and_refuses_altered_ones(go, new):
    chance = random.Random(new)
    for old in {1, new, max(1, new // 2), max(1, new - 1), chance.randint(1, new)}:
        hashes = prove_consistency(old, new, read)
        true = {
            "hashes": list(hashes),
            "old": old,
            "oldRoot": root_of(HASHES[:old]),
            "new": new,
            "newRoot": root_of(HASHES[:new]),
        }
        assert go.accepts("consistency", **true)
        if old == new:
            continue
        for name in ("oldRoot", "newRoot"):
            assert not go.accepts("consistency", **true | {name: b"\0" * 32})
        for at in range(len(hashes)):
            altered = [*hashes[:at], flip(hashes[at], chance), *hashes[at + 1 :]]
            assert not go.accepts("consistency", **true | {"hashes": altered})
        assert not go.accepts("consistency", **true | {"hashes": list(hashes)[:-1]})


@pytest.mark.parametrize("size", SIZES)
def test_go_grows_the_same_tree_and_proves_it_with_the_same_hashes(go, size):
    chance = random.Random(size)
    for _ in range(5):
        index, old = chance.randrange(size), chance.randint(1, size)
        own = go.ask("prove", leaves=LEAVES[:size], index=index, old=old)
        assert b64decode(own["root"]) == root_of(HASHES[:size])
        inclusion = [b64decode(each) for each in own.get("inclusion", [])]
        assert tuple(inclusion) == prove_inclusion(index, size, read)
        consistency = [b64decode(each) for each in own.get("consistency", [])]
        assert tuple(consistency) == prove_consistency(old, size, read)
        check_consistency(
            consistency,
            old=old,
            old_root=root_of(HASHES[:old]),
            new=size,
            new_root=b64decode(own["root"]),
        )


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[SignerProcess]:
    process = SignerProcess(tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.mark.control("M12")
async def test_go_verifies_an_entry_of_a_real_log_signed_by_the_real_signer(
    go, signer, pg_database
):
    client = SignerClient(signer.socket)
    async with RealLedger(pg_database).open(signer=client) as real:
        leaves = [leaf(number) for number in range(20)]
        await real.ledger.append(leaves[:11])
        first = (await real.keeper.proof(3)).checkpoint
        await real.ledger.append(leaves[11:])
        made = await real.keeper.proof(13)
        vkey = (await client.head()).log.vkey
        hashes = await real.ledger.history.consistency(11, 20)
    await client.close()
    ask = {"vkey": vkey, "proof": made.text, "leaf": leaves[13]}
    assert go.accepts("inclusion", **ask)
    assert not go.accepts("inclusion", **ask | {"leaf": leaves[12]})
    roots = [
        b64decode(go.ask("open", note=note, vkey=vkey)["text"].split("\n")[2])
        for note in (first, made.checkpoint)
    ]
    grew = {"old": 11, "oldRoot": roots[0], "new": 20, "newRoot": roots[1]}
    assert go.accepts("consistency", hashes=list(hashes), **grew)

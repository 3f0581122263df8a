"""The last step: export the log, verify it offline, flip one byte, see it fail."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.demo.story import Told, expect

if TYPE_CHECKING:
    from broker.cli.demo.world import World

COMMAND_TIMEOUT_S = 60.0
_ROOT = Path(__file__).resolve().parents[3]


async def evidence(world: World, told: Told) -> str:
    """Verify the evidence offline."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-") as folder:
        file, copy = Path(folder) / "log.jsonl", Path(folder) / "copy.jsonl"
        state = ("--state", str(world.state))
        code, said = await _counterfoil("audit", "export", str(file), *state)
        expect(code == 0, f"the log is exported: {said}")
        code, said = await _counterfoil("audit", "verify", str(file))
        expect(code == 0, f"it verifies: {said}")
        changed = await asyncio.to_thread(_flip, file, copy)
        code, found = await _counterfoil("audit", "verify", str(copy))
        expect(code == 1, "a copy with one other byte does not verify")
        expect(found.get("seq") == changed, f"entry {changed} is named: {found}")
    entries = said.get("entries") or said.get("size")
    told.facts |= {"entries": entries, "flipped_entry": changed}
    return (
        f"{entries} entries verified offline; one flipped byte: entry {changed} named"
    )


def _flip(file: Path, copy: Path) -> int:
    """Copy a file with one byte of one entry changed; return the entry's number."""
    lines = file.read_bytes().splitlines(keepends=True)
    number = len(lines) // 2
    entry = json.loads(lines[number])
    leaf = entry["leaf"]
    middle = len(leaf) // 2
    other = "A" if leaf[middle] != "A" else "B"
    entry["leaf"] = leaf[:middle] + other + leaf[middle + 1 :]
    lines[number] = json.dumps(entry).encode() + b"\n"
    copy.write_bytes(b"".join(lines))
    return int(entry["seq"])


async def _counterfoil(*words: str) -> tuple[int, dict[str, Any]]:
    """Run the command as a process of its own; return its exit code and JSON answer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "broker.cli",
        *words,
        "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        out, error = await process.communicate()
    lines = out.decode().splitlines() or [json.dumps({"said": error.decode()[-400:]})]
    answer: dict[str, Any] = json.loads(lines[-1])
    return process.returncode or 0, answer

"""See limits of the runner limit, on a kernel of its own; prints what came of it.

The first argument is a group of version 2 that was made for it. Only the standard
library and tools are used: it runs as the only program of a machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tools import limits
from tools.posture import cgroups

FORKS = """
import os, sys, time
sys.stdin.read()
count = 0
try:
    while count < 1_000:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        count += 1
except OSError as error:
    print(count, error.errno, flush=True)
"""
MEMORY = """
import sys
sys.stdin.read()
held = [bytearray(1 << 24) for _ in range(256)]
print("got it all", flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    """Start a program that waits until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(program: subprocess.Popen[str]) -> str:
    """Let it go on, and return the first line that it says."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.close()
    return program.stdout.readline().strip()


def main() -> None:
    """Divide the group, limit connectors, and let each do its worst."""
    root = Path(sys.argv[1])
    # As a service of an init system is: in the group that it was handed.
    cgroups.write(root / "cgroup.procs", os.getpid())
    groups = cgroups.open_groups(root)
    found = {"word": groups.word, "own": str(cgroups.own_group())}
    forking, taking, calm = start(FORKS), start(MEMORY), start("input()")
    for name, program in (("forks", forking), ("takes", taking), ("calm", calm)):
        groups.join(name, program.pid)
    found["forks"] = go(forking)
    found["memory"] = go(taking)
    found["killed_by"] = str(-taking.wait())
    found["calm"] = str(calm.poll())
    found["word_after"] = groups.word
    found["most"] = f"{limits.GROUP_PIDS_MAX} {limits.GROUP_MEMORY_BYTES_MAX}"
    sys.stdout.write("\nFOUND " + json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Limits for a connector as a whole, on a kernel that has cgroups of version 2.

User-mode Linux is a kernel that runs as a process: it needs no rights, and offers the
controllers that the host may have bound elsewhere. It stops with its first process.
"""

from __future__ import annotations

import errno
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

from tools import limits

TOP = Path(__file__).parents[3]
BOOTS_S_MAX = 240
BOOT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc && mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/delegated
PYTHONPATH={top} {python} -P -B {program} /sys/fs/cgroup/delegated
"""

if platform.machine() == "x86_64":  # There is no such kernel for other machines.

    def test_a_connectors_calls_together_neither_fork_nor_take_without_end(tmp_path):
        boot = tmp_path / "boot"
        program = Path(__file__).with_name("limited.py")
        boot.write_text(BOOT.format(top=TOP, python=sys.executable, program=program))
        boot.chmod(0o755)
        done = subprocess.run(
            [
                *("linux.uml", "mem=1536M", "root=/dev/root", "rootfstype=hostfs"),
                *("rootflags=/", "ro", "quiet", "loglevel=1", f"init={boot}"),
                *("con=null", "con0=null,fd:1", f"uml_dir={tmp_path}/"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BOOTS_S_MAX,
            check=False,
        )
        said = [one for one in done.stdout.splitlines() if one.startswith("FOUND ")]
        assert said, done.stdout[-2_000:]
        found = json.loads(said[0].removeprefix("FOUND "))
        assert found["word"] == found["word_after"] == "limited"
        assert found["own"] == "/sys/fs/cgroup/delegated/counterfoil-runner"
        # The program itself is one of them.
        assert found["forks"] == f"{limits.GROUP_PIDS_MAX - 1} {errno.EAGAIN}"
        assert found["memory"] == ""
        assert found["killed_by"] == str(int(signal.SIGKILL))
        assert found["calm"] == "None"

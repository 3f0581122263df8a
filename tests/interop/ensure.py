"""Make sure that the third-party verifiers are there: python -m tests.interop.ensure.

On Debian and as root what is missing is installed; otherwise one line names it, and
the exit status is 1.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.browser import find_browser

# The packages, and how to see that they are there: a program, or a file.
NEEDED = {
    "golang-go": lambda: shutil.which("go") is not None,
    "golang-golang-x-mod-dev": lambda: Path(
        "/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go"
    ).is_file(),
    # Any Chromium will do (tests/support/browser.py); Debian's is the last resort.
    "chromium": lambda: bool(find_browser()),
    # A kernel with cgroups of version 2; there is none for other machines.
    "user-mode-linux": lambda: (
        platform.machine() != "x86_64" or shutil.which("linux.uml") is not None
    ),
}
INSTALL_TIMEOUT_S = 600


def missing() -> list[str]:
    """Return the Debian packages that are not there."""
    return [package for package, is_there in NEEDED.items() if not is_there()]


def install(packages: list[str]) -> str:
    """Install Debian packages; return apt-get's last words, empty if it worked."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    commands = (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    )
    for command in commands:
        done = subprocess.run(
            command,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()
            return words[-1] if words else f"{command[1]} gave {done.returncode}"
    return ""


def main() -> int:
    """Return the exit status: 0 only if everything that interop needs is there."""
    packages = missing()
    why = ""
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"interop: installing {' '.join(packages)}")
        why = install(packages)
        packages = missing()
    if packages:
        reason = f" ({why})" if why else ""
        print(
            f"interop: missing Debian packages: {' '.join(packages)}{reason}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

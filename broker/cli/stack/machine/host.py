"""Find out what this machine allows, by trying it."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from broker.cli.stack.launch import confine, kernel, namespaces

MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the kernel lets this user do.

    Attributes:
        root: The user is root.
        user_namespace_refusal: Why not, or empty when it may.
        network_namespace_refusal: Likewise for a network of one's own.
        landlock_abi: Version of Landlock's interface; 0 without.
        unreachable: What the user reaches only with privileges that no part keeps;
            empty when there is nothing of that kind.
    """

    root: bool
    user_namespace_refusal: str
    network_namespace_refusal: str
    landlock_abi: int
    unreachable: str = ""


def this_host(*needed: Path) -> Host:
    """Try what is needed; takes a few milliseconds.

    Call it while the process has one thread: it forks.

    Args:
        needed: Files and folders that parts must be able to read.
    """
    return Host(
        root=os.geteuid() == 0,
        user_namespace_refusal=namespaces.refusal(network=False),
        network_namespace_refusal=namespaces.refusal(network=True),
        landlock_abi=confine.abi(),
        unreachable=unreachable(*needed),
    )


def unreachable(*paths: Path) -> str:
    """Return the first file that cannot be read, or folder not entered, unprivileged.

    Root reads everything, its parts only what belongs to root or is open to all:
    they give their capabilities up, and PostgreSQL runs in a user namespace. Tried in
    a child that has given them up as well.
    """
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            kernel.drop_privileges()
            for code, path in enumerate(paths, 1):  # noqa: B007 it is the answer
                if path.is_dir():
                    os.close(os.open(f"{path}/.", os.O_PATH))
                else:
                    os.close(os.open(path, os.O_RDONLY))
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return str(paths[code - 1]) if code else ""


def platform_refusal() -> str:
    """Return in one line why the stack cannot run here; empty when it can."""
    if platform.system() != "Linux":
        return (
            f"Counterfoil runs on Linux, not on {platform.system()}: its sandbox needs "
            "Landlock and seccomp. Use a Linux machine, virtual machine or container."
        )
    if platform.machine() not in MACHINES:
        return (
            f"Counterfoil runs on x86-64 and arm64, not on {platform.machine()}: its "
            "sandbox is written for their system calls."
        )
    return ""


def refusal(host: Host, *, own_database: bool) -> str:
    """Return why this host cannot carry the stack, and what to do; empty if it can.

    Args:
        host: What the kernel allows.
        own_database: PostgreSQL is to be started here.
    """
    if not host.landlock_abi:
        return (
            "This kernel offers no Landlock, which keeps the parts from each other's "
            "keys: use Linux 5.13 or newer with `landlock` in CONFIG_LSM (or lsm=)."
        )
    if host.unreachable:
        return (
            f"{host.unreachable} is closed to root without its privileges, and no part "
            "of the stack keeps those: run as the user whom the folders above it "
            "belong to, or use a checkout and a state folder of root's own."
        )
    if host.root and own_database and host.user_namespace_refusal:
        return (
            "PostgreSQL refuses to run as root, and this kernel or container refuses "
            f"user namespaces ({host.user_namespace_refusal}): run as an ordinary "
            "user, allow user namespaces, or name a server with "
            "COUNTERFOIL_DATABASE_URL."
        )
    return ""

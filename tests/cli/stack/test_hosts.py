"""Where namespaces are refused the stack says so, or does without them."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from broker.cli.stack.machine.host import (
    Host,
    platform_refusal,
    refusal,
    unreachable,
)
from broker.cli.stack.state import running_pid
from tests.cli import tree
from tests.support.servers import this_host_elsewhere

pytestmark = pytest.mark.xdist_group("stack")

# Enters a user namespace in which no other can be made, as the uid that is given, and
# becomes the command that follows. CLONE_NEWUSER is 0x10000000.
WITHOUT_NAMESPACES = """
import os, sys
from pathlib import Path
from broker.cli.stack.launch import kernel
uid, command = sys.argv[1], sys.argv[2:]
ours, group = os.geteuid(), os.getegid()
kernel.unshare(0x10000000)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"{uid} {ours} 1")
Path("/proc/self/gid_map").write_text(f"{uid} {group} 1")
Path("/proc/sys/user/max_user_namespaces").write_text("0")
os.execv(command[0], command)
"""


def without_namespaces(stack, uid: int):
    """Let the stack's command run as ``uid`` where no user namespace can be made."""
    if not this_host_elsewhere()["user_namespace_refusal"]:
        stack.prefix = (sys.executable, "-P", "-c", WITHOUT_NAMESPACES, str(uid))
    return stack


def test_root_is_told_in_one_line_what_to_do(stack) -> None:
    done = without_namespaces(stack, uid=0).run("up", "--detach")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert "refuses to run as root" in line
    assert "run as an ordinary user" in line
    assert running_pid(stack.state) is None


def test_what_root_reaches_by_privilege_alone_is_named(tmp_path) -> None:
    # As an ordinary user the folder is closed by its mode; as root by its owner, too.
    inner = tmp_path / "home" / "checkout"
    inner.mkdir(parents=True)
    (inner / "code.py").write_text("")
    assert unreachable(inner, inner / "code.py") == ""
    if os.geteuid() == 0:
        os.chown(inner.parent, 65534, 65534)
        inner.parent.chmod(0o700)
    else:
        inner.parent.chmod(0)
    try:
        assert unreachable(tmp_path, inner) == str(inner)
        assert unreachable(tmp_path, inner / "code.py") == str(inner / "code.py")
        inner.parent.chmod(0o711)
        assert unreachable(inner, inner / "code.py") == ""
    finally:
        inner.parent.chmod(0o755)


def test_root_in_the_folder_of_somebody_else_is_told_so_in_one_line() -> None:
    host = Host(
        root=True,
        user_namespace_refusal="",
        network_namespace_refusal="",
        landlock_abi=7,
        unreachable="/home/nina/counterfoil",
    )
    text = refusal(host, own_database=True)
    assert text.startswith("/home/nina/counterfoil is closed to root")
    assert "\n" not in text


def test_the_doctor_tells_root_the_same(stack) -> None:
    done = without_namespaces(stack, uid=0).run("doctor", "--json")
    assert done.returncode == 1
    findings = {one["check"]: one for one in tree.events(done.stdout)}
    assert findings["user namespaces"]["health"] == "failed"
    assert "ordinary user" in findings["user namespaces"]["hint"]
    assert findings["seccomp"]["health"] == "ok"


def test_an_ordinary_user_does_without_and_is_told_what_that_means(stack) -> None:
    ordinary = without_namespaces(stack, uid=os.geteuid() or 65534)
    done = ordinary.run("up", "--detach", "--bare")
    assert done.returncode == 0, done.stderr
    assert "other users of this machine can reach it on port" in done.stderr
    pids = stack.processes()
    # The port is there, as the note says, and the proxy still asks for a password.
    port = int(done.stderr.partition("can reach it on port ")[2].split()[0])
    socket.create_connection(("127.0.0.1", port)).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(stack.state / "run" / "temporal.sock"))
        client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
        assert b" 407 " in client.recv(64)
    assert stack.run("down").returncode == 0
    assert tree.gone(pids)


def test_this_platform_is_one_that_the_stack_runs_on() -> None:
    assert platform_refusal() == ""


def test_the_doctor_finds_everything_that_the_stack_found(running) -> None:
    done = running.run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    findings = {one["check"]: one for one in tree.events(done.stdout)}
    assert {
        *("platform", "python", "postgres", "valkey", "temporal", "landlock"),
        *("seccomp", "user namespaces", "network namespaces", "state folder"),
        "folders",
        *("socket paths", "disk", "memory", "open files", "port 8400", "port 8460"),
    } <= findings.keys()
    assert all(one["hint"] for one in findings.values() if one["health"] != "ok")
    plain = running.run("doctor").stdout
    assert "landlock: interface version" in plain

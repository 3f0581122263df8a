"""A confined process reaches what is named and nothing else; unconfined ones do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from broker.cli.stack.launch import confine
from broker.cli.stack.launch.order import Order, order_from_json, order_to_json
from broker.cli.stack.planning.rules import confined
from broker.cli.stack.state import CHECKOUT, open_state

# Tries one thing and prints "yes" or the errno's name.
TRY = """
import ctypes, errno, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def traced(pid):
    tracer = os.fork()  # The end of a tracer is the end of tracing.
    if not tracer:
        # PTRACE_SEIZE neither stops nor waits for the other process.
        failed = libc.ptrace(0x4206, int(pid), 0, 0) == -1
        os._exit(ctypes.get_errno() if failed else 0)
    number = os.waitstatus_to_exitcode(os.waitpid(tracer, 0)[1])
    if number:
        raise OSError(number, "ptrace")

def memory_read(pid):
    with open(f"/proc/{pid}/mem", "rb"):
        pass

def signalled(pid):
    os.kill(int(pid), 0)

def abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\\0" + name)

def connected(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)

def linked(path):
    os.link(path, path + ".link")

what = {
    "read": lambda path: open(path).read(),
    "list": os.listdir,
    "write": lambda path: open(path, "a").close(),
    "make": lambda path: open(path, "x").close(),
    "remove": os.remove,
    "rename": lambda path: os.rename(path, path + ".moved"),
    "import": __import__,
    "environ": lambda pid: open(f"/proc/{pid}/environ").read(),
    "memory": memory_read,
    "trace": traced,
    "signal": signalled,
    "abstract": abstract,
    "connect": connected,
    "mount": lambda path: libc.unshare(0x10020000) or libc.mount(
        b"none", path.encode(), b"tmpfs", 0, None),
}
for line in sys.stdin:
    name, _, argument = line.strip().partition(" ")
    try:
        failed = what[name](argument) == -1
        print("no" if failed else "yes", flush=True)
    except ImportError:
        print("no", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


def launching(order: Order) -> list[str]:
    launcher = [sys.executable, "-P", "-S", "-m", "broker.cli.stack.launch"]
    return [*launcher, order_to_json(order)]


class Child:
    """A process that tries what it is told."""

    def __init__(self, folder, rule) -> None:
        order = Order(
            argv=(sys.executable, "-P", "-c", TRY),
            parent=os.getpid(),
            confined=rule is not None,
            read=tuple(map(str, rule.read)) if rule else (),
            write=tuple(map(str, rule.write)) if rule else (),
            hidden=tuple(map(str, rule.hidden)) if rule else (),
        )
        self.process = subprocess.Popen(
            launching(order),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(folder)},
            cwd="/",
        )

    def can(self, what: str, argument: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {argument}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def state(tmp_path):
    state = open_state(tmp_path / "state")
    for name in ("edge", "signer", "clients", "postgres", "broker", "worker"):
        (state.path / name / "secret").write_text("secret")
    (state.path / "tmp" / "broker-0").mkdir()
    (state.run / "broker-0").mkdir()
    return state


@pytest.fixture
def child(state):
    child = Child(
        state.path / "import", confined(state, name="broker-0", folder="broker")
    )
    yield child
    child.close()


@pytest.fixture
def free_child(state):
    """Yield the control: the same process without the rule."""
    child = Child(state.path / "import", None)
    yield child
    child.close()


@pytest.fixture
def other():
    """Yield another process of the same user, as the edge is."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("folder", ["edge", "signer", "clients", "postgres", "worker"])
def test_a_confined_broker_reads_nobody_elses_folder(
    state, child, free_child, folder
) -> None:
    for what, path in (("read", f"{folder}/secret"), ("list", folder)):
        assert free_child.can(what, state.path / path) == "yes"
        assert child.can(what, state.path / path) == "EACCES"
    for what in ("write", "remove", "rename"):
        assert child.can(what, state.path / folder / "secret") == "EACCES"
    assert child.can("make", state.path / folder / "new") == "EACCES"
    assert (state.path / folder / "secret").read_text() == "secret"


def test_a_way_round_by_a_link_leads_nowhere(state, child) -> None:
    (state.path / "broker" / "way").symlink_to(state.path / "edge")
    assert child.can("read", state.path / "broker" / "way" / "secret") == "EACCES"


def test_a_confined_broker_uses_its_own_folders(state, child) -> None:
    for path in ("broker/new", "tmp/broker-0/new", "public/broker/new"):
        assert child.can("make", state.path / path) == "yes"
        assert child.can("read", state.path / path) == "yes"
        assert child.can("remove", state.path / path) == "yes"
    assert child.can("make", state.run / "broker-0" / "ready") == "yes"
    assert child.can("read", state.path / "state.json") == "yes"
    assert child.can("write", state.path / "state.json") == "EACCES"


def test_a_confined_process_replaces_nobodys_socket(state, child) -> None:
    (state.run / "signer").mkdir()
    (state.run / "signer" / "signer.sock").write_text("")
    assert child.can("remove", state.run / "signer" / "signer.sock") == "EACCES"
    assert child.can("make", state.run / "new.sock") == "EACCES"


def test_a_confined_process_finds_its_code_but_does_not_write_it(child) -> None:
    assert child.can("import", "asyncpg") == "yes"
    assert child.can("import", "broker.core") == "yes"
    assert child.can("import", "infra") == "yes"
    assert child.can("write", CHECKOUT / "broker" / "__init__.py") == "EACCES"
    assert child.can("list", CHECKOUT) == "EACCES"


def test_a_confined_process_has_no_common_temporary_folder(child, free_child) -> None:
    assert free_child.can("list", gettempdir()) == "yes"
    assert child.can("list", gettempdir()) == "EACCES"


def test_a_confined_process_reaches_no_other_process(child, free_child, other) -> None:
    for what in ("environ", "memory", "trace", "signal"):
        assert free_child.can(what, other) == "yes", what
    assert child.can("environ", other) == "EACCES"
    assert child.can("memory", other) == "EACCES"
    assert child.can("trace", other) == "EPERM"
    scoped = confine.abi() >= 6
    assert child.can("signal", other) == ("EPERM" if scoped else "yes")


def test_a_confined_process_has_no_capabilities_even_as_root(child) -> None:
    assert child.can("list", "/usr") == "yes"  # The launcher has done its work.
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[name], 16) == 0


def test_a_confined_process_connects_to_paths_but_not_to_abstract_names(
    state, child, free_child
) -> None:
    name = f"counterfoil-test-{os.getpid()}"
    path = state.run / "edge.sock"
    with (
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        named.bind(str(path))
        named.listen()
        assert free_child.can("abstract", name) == "yes"
        scoped = confine.abi() >= 6
        assert child.can("abstract", name) == ("EPERM" if scoped else "yes")
        assert child.can("connect", path) == "yes"


def test_a_confined_process_mounts_nothing_over_what_is_hidden(state, child) -> None:
    assert child.can("mount", state.path / "edge") != "yes"


def test_a_child_of_a_confined_process_is_confined_too(state) -> None:
    rule = confined(state, name="broker-0", folder="broker")
    order = Order(
        argv=("/bin/sh", "-c", f"cat {state.path}/edge/secret"),
        parent=os.getpid(),
        confined=True,
        read=tuple(map(str, rule.read)),
        write=tuple(map(str, rule.write)),
        hidden=tuple(map(str, rule.hidden)),
    )
    done = subprocess.run(
        launching(order),
        env={"PYTHONPATH": str(state.path / "import")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
    assert done.stdout == ""


# --------------------------------------------------------------------- pieces of a rule


def test_a_folder_with_something_hidden_is_granted_child_by_child(tmp_path) -> None:
    for name in ("a", "b/kept", "b/hidden/deep", "c"):
        (tmp_path / name).mkdir(parents=True)
    found = set(confine.around(tmp_path, [tmp_path / "b" / "hidden"]))
    assert found == {tmp_path / "a", tmp_path / "b" / "kept", tmp_path / "c"}
    assert set(confine.around(tmp_path / "b" / "hidden", [tmp_path])) == {
        tmp_path / "b" / "hidden"
    }
    assert set(confine.around(tmp_path, [tmp_path])) == set()


def test_a_later_kernel_is_asked_for_no_more_than_is_known_here() -> None:
    assert confine.handled(1) == 2**13 - 1
    assert confine.handled(5) == confine.handled(99) == 2**16 - 1


def test_the_launcher_says_what_kept_a_part_from_starting(tmp_path) -> None:
    order = Order(argv=(str(tmp_path / "missing"),), parent=os.getpid())
    done = subprocess.run(
        launching(order),
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert "No such file" in done.stderr


def test_a_part_whose_supervisor_is_gone_already_does_not_start() -> None:
    order = Order(argv=("/bin/true",), parent=1)
    done = subprocess.run(
        launching(order),
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert "has ended" in done.stderr


def test_an_order_reads_back_as_it_was_written() -> None:
    order = Order(argv=("/bin/x", "y"), parent=3, confined=True, read=("/usr",))
    text = order_to_json(order)
    assert json.loads(text)["parent"] == 3
    assert order_from_json(text) == order

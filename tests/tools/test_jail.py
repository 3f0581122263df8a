"""The filters as programs: what they allow, on both machines, call by call."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.jail import bpf, filters, kernel, landlock, process, syscalls
from tools.jail.bpf import (
    ALLOW,
    BLOCK_INSTRUCTIONS_MAX,
    ERRNO,
    KILL,
    PROGRAM_INSTRUCTIONS_MAX,
    NoneOf,
    OneOf,
    Rules,
)

MACHINES = sorted(syscalls.MACHINES)
EPERM = ERRNO | errno.EPERM
# What a connector must never be able to do; each is in the table of numbers.
NEVER = (
    *("socket", "connect", "sendmsg", "sendmmsg", "execve", "execveat", "ptrace"),
    *("process_vm_readv", "kill", "tgkill", "pidfd_send_signal", "pidfd_getfd"),
    *("unshare", "setns", "mount", "chroot", "setuid", "capset", "bpf", "keyctl"),
    *("add_key", "io_uring_setup", "perf_event_open", "userfaultfd", "personality"),
    *("memfd_create", "truncate", "mkdirat", "unlinkat", "symlinkat", "linkat"),
    *("renameat2", "fchmodat", "fchownat", "utimensat", "open_by_handle_at"),
    *("inotify_init1", "shmget", "mq_open"),
)
NEVER_IN_CHILD = (
    *("clone", "fork", "prctl", "seccomp", "landlock_restrict_self", "pidfd_open"),
    *("dup2", "dup3", "wait4", "waitid"),
)


def run(program: bytes, *, machine: int, number: int, arguments=(0,) * 6) -> int:
    """Interpret a filter as the kernel does. Source: Linux, net/core/filter.c."""
    data = struct.pack("=iIQ6Q", number, machine, 0, *arguments)
    code = [
        struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)
    ]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x05:
                at += operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(operation)


def ask(program: bytes, machine: str, name: str, *arguments: int) -> int:
    number = syscalls.number(name, on=machine)
    assert number is not None
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    return run(
        program,
        machine=syscalls.MACHINES[machine],
        number=number,
        arguments=[one & (2**64 - 1) for one in padded],
    )


def programs(machine: str) -> list[bytes]:
    return [
        filters.zygote_program(machine=machine),
        filters.child_program(machine=machine),
    ]


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_connector_must_never_do_is_refused_by_both_filters(machine):
    for program in programs(machine):
        for name in NEVER:
            if name == "sendmsg" and program == programs(machine)[0]:
                continue  # The zygote answers the dispatcher with it.
            assert ask(program, machine, name) == EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_zygote_needs_is_refused_to_its_children(machine):
    _, child = programs(machine)
    for name in NEVER_IN_CHILD:
        if syscalls.number(name, on=machine) is not None:
            assert ask(child, machine, name, signal.SIGCHLD) == EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_what_python_needs_is_allowed(machine):
    for program in programs(machine):
        for name in ("read", "write", "mmap", "futex", "recvmsg", "exit_group"):
            assert ask(program, machine, name) == ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
def test_files_are_opened_for_reading_only(machine):
    for program in programs(machine):
        assert (
            ask(program, machine, "openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
        )
        for flag in (
            *(os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND),
            *(os.O_PATH, 0o20000000),
        ):
            assert ask(program, machine, "openat", 0, 0, flag) == EPERM, flag
    assert ask(programs("x86_64")[1], "x86_64", "open", 0, os.O_WRONLY) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_commands_to_descriptors_are_the_listed_ones(machine):
    for program in programs(machine):
        assert ask(program, machine, "ioctl", 0, 0x541B) == ALLOW
        assert ask(program, machine, "ioctl", 0, 0x5412) == EPERM  # TIOCSTI
        assert ask(program, machine, "ioctl", 0, 0x541C) == EPERM  # TIOCLINUX
        assert ask(program, machine, "fcntl", 0, 1) == ALLOW
        assert ask(program, machine, "fcntl", 0, 8) == EPERM  # F_SETOWN
        assert ask(program, machine, "getsockopt", 0, 1, 3) == ALLOW
        assert ask(program, machine, "getsockopt", 0, 1, 77) == EPERM  # SO_PEERPIDFD
        assert ask(program, machine, "getsockopt", 0, 6, 3) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_limits_are_read_and_never_raised_by_a_child(machine):
    zygote, child = programs(machine)
    assert ask(child, machine, "prlimit64", 0, 7, 0) == ALLOW
    for pointer in (1, 1 << 32, -1):
        assert ask(child, machine, "prlimit64", 0, 7, pointer) == EPERM
    assert ask(zygote, machine, "prlimit64", 0, 7, 1) == ALLOW
    assert ask(zygote, machine, "prlimit64", 42, 7, 1) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=st.integers(0, 2**32 - 1))
def test_a_zygote_forks_plainly_and_not_otherwise(machine, flags):
    zygote = programs(machine)[0]
    plain = {signal.SIGCHLD, 0x01200000 | signal.SIGCHLD}
    expected = ALLOW if flags in plain else EPERM
    assert ask(zygote, machine, "clone", flags) == expected
    for one in plain:
        assert ask(zygote, machine, "clone", one) == ALLOW
        assert ask(zygote, machine, "clone", one | 0x10000000) == EPERM  # a user ns


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_with_arguments_in_memory_do_not_exist(machine):
    for program in programs(machine):
        for name in ("clone3", "openat2"):
            assert ask(program, machine, name) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2_000))
def test_a_call_that_no_rule_names_is_refused(machine, number):
    known = {syscalls.number(name, on=machine) for name in syscalls.names()}
    if number not in known:
        for program in programs(machine):
            arch = syscalls.MACHINES[machine]
            assert run(program, machine=arch, number=number) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2_000), arch=st.integers(0, 2**32 - 1))
def test_another_machines_interface_ends_the_process(machine, number, arch):
    own = syscalls.MACHINES[machine]
    for program in programs(machine):
        assert run(program, machine=arch, number=number) == KILL or arch == own
        x32 = syscalls.X32_BIT | number
        assert run(program, machine=own, number=x32) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_no_number_stands_for_two_calls(machine):
    numbers = [syscalls.number(name, on=machine) for name in syscalls.names()]
    there = [number for number in numbers if number is not None]
    assert len(there) == len(set(there))
    assert len(there) > 80


def test_a_machine_that_is_not_known_is_said_so():
    with pytest.raises(KeyError):
        syscalls.number("read", on="riscv64")
    assert syscalls.machine() in MACHINES


def test_conditions_must_all_hold():
    rules = {"fcntl": (OneOf(0, 5, 6), NoneOf(1, 0b1100))}
    program = bpf.assemble(rules, machine="x86_64", errors={})
    assert ask(program, "x86_64", "fcntl", 5, 0b0011) == ALLOW
    assert ask(program, "x86_64", "fcntl", 6, 0) == ALLOW
    for arguments in ((5, 0b0100), (7, 0), (7, 0b1000)):
        assert ask(program, "x86_64", "fcntl", *arguments) == EPERM


def test_a_program_is_taken_at_its_longest_and_refused_past_it():
    names = sorted(syscalls.names())
    # Head and end take 7 instructions; a rule takes 2, each NoneOf 4, this OneOf 5.
    full: Rules = dict.fromkeys(names[:16], [NoneOf(0, 1)] * 62)
    rest: Rules = {names[16]: [NoneOf(0, 1)] * 20, names[17]: [OneOf(0, 1, 2)]}
    longest = bpf.assemble({**full, **rest}, machine="x86_64", errors={})
    assert len(longest) // 8 == PROGRAM_INSTRUCTIONS_MAX
    with pytest.raises(ValueError, match="more than 4096"):
        bpf.assemble({**full, **rest, names[18]: []}, machine="x86_64", errors={})


def test_a_rule_is_taken_at_its_longest_and_refused_past_it():
    count = (BLOCK_INSTRUCTIONS_MAX - 1) // 4
    rules = {"fcntl": [NoneOf(0, 1)] * count}
    program = bpf.assemble(rules, machine="x86_64", errors={})
    assert ask(program, "x86_64", "fcntl", 2) == ALLOW
    rules = {"fcntl": [NoneOf(0, 1)] * (count + 1)}
    with pytest.raises(ValueError, match="more than 255"):
        bpf.assemble(rules, machine="x86_64", errors={})


def in_child(work) -> int:
    """Run something in a fork; return its exit status, or minus its signal."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_installed_filter_is_the_kernels_own_answer():
    def work() -> int:
        process.give_up_privileges()
        bpf.install(filters.child_program(machine=syscalls.machine()))
        try:
            os.open("/", os.O_WRONLY)
        except PermissionError:
            return 7
        return 0

    assert in_child(work) == 7


def test_a_call_of_the_x32_interface_kills():
    # arm64 has no such interface: there an ordinary call that no rule names must do.
    x86 = syscalls.machine() == "x86_64"

    def work() -> int:
        process.give_up_privileges()
        bpf.install(filters.child_program(machine=syscalls.machine()))
        kernel.syscall(syscalls.X32_BIT | 39 if x86 else 39)
        return 0

    assert in_child(work) == (-signal.SIGSYS if x86 else 99)


def test_landlock_leaves_reading_below_the_named_paths_and_nothing_else(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "file").write_text("x", "utf-8")
    (tmp_path / "closed").write_text("x", "utf-8")

    def work() -> int:
        process.give_up_privileges()
        made = landlock.ruleset([str(tmp_path / "open"), str(tmp_path / "missing")])
        landlock.restrict(made)
        (tmp_path / "open" / "file").read_bytes()
        refused = 0
        attempts: list[Callable[[], object]] = [
            (tmp_path / "closed").read_bytes,
            (tmp_path / "open" / "new").mkdir,
            (tmp_path / "open" / "file").unlink,
            partial((tmp_path / "open" / "file").write_bytes, b"y"),
        ]
        for attempt in attempts:
            try:
                attempt()
            except PermissionError:
                refused += 1
        return refused

    assert landlock.abi() >= landlock.ABI_MIN
    assert in_child(work) == 4
    assert (tmp_path / "open" / "file").read_text("utf-8") == "x"


def test_a_process_without_privileges_has_no_capability_and_gains_none():
    def work() -> int:
        process.give_up_privileges()
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 few calls
            text = file.read()
        return int(b"CapEff:\t0000000000000000" in text and b"NoNewPrivs:\t1" in text)

    assert in_child(work) == 1


def test_a_process_whose_parent_has_ended_does_not_go_on():
    def work() -> int:
        try:
            process.die_with_parent(os.getppid() + 1)
        except ProcessLookupError:
            return 5
        return 0

    assert in_child(work) == 5


def test_a_childs_limits_hold_at_the_limit_and_one_past_it():
    def work() -> int:
        process.limit_zygote()
        process.limit_child()
        import resource  # noqa: PLC0415 in the fork only

        limits = [
            resource.getrlimit(one)
            for one in (
                *(resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE),
                *(resource.RLIMIT_FSIZE, resource.RLIMIT_CORE),
            )
        ]
        wanted = (process.MEMORY_BYTES_MAX, process.CPU_S_MAX, process.DESCRIPTORS_MAX)
        if limits != [(one, one) for one in (*wanted, 0, 0)]:
            return 1
        opened: list[int] = []
        try:
            while len(opened) < process.ZYGOTE_DESCRIPTORS_MAX:
                opened.append(os.open("/", os.O_RDONLY))
        except OSError:
            highest = max(opened)
            return 2 if highest == process.DESCRIPTORS_MAX - 1 else 3
        return 4

    assert in_child(work) == 2


def test_more_memory_than_the_limit_is_not_given():
    def work() -> int:
        process.limit_child()
        try:
            ctypes.create_string_buffer(process.MEMORY_BYTES_MAX)
        except MemoryError:
            return 6
        return 0

    assert in_child(work) == 6


def test_limits_that_are_lower_already_are_kept():
    def work() -> int:
        import resource  # noqa: PLC0415 in the fork only

        process.give_up_privileges()
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        process.limit_child()
        return resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    assert in_child(work) == 20

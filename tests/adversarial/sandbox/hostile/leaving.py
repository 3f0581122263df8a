"""Try to leave the jail, or to use what the kernel has besides."""

from __future__ import annotations

import ctypes
import os
import resource

from tests.adversarial.sandbox.hostile.kit import World, attempt, syscall


@attempt
def enter_a_user_namespace(_: World) -> bool:
    return syscall("unshare", 0x10000000) == 0


@attempt
def leave_the_network_namespace(_: World) -> bool:
    return syscall("unshare", 0x40000000) == 0


@attempt
def join_the_brokers_namespace(world: World) -> bool:
    fd = os.open(f"/proc/{world['victim']}/ns/net", os.O_RDONLY)
    return syscall("setns", fd, 0) == 0


@attempt
def mount_something(world: World) -> bool:
    return syscall("mount", b"none", world["loot"].encode(), b"tmpfs", 0, None) == 0


@attempt
def change_the_root(world: World) -> bool:
    os.chroot(world["loot"])
    return True


@attempt
def become_somebody_else(_: World) -> bool:
    os.setuid(12_345)
    return True


@attempt
def use_io_rings(_: World) -> int:
    return syscall("io_uring_setup", 1, ctypes.create_string_buffer(120))


@attempt
def store_a_key(_: World) -> int:
    return syscall("add_key", b"user", b"escape", b"x", 1, -3)


@attempt
def read_the_keyring(_: World) -> bool:
    return syscall("keyctl", 0, -3, 1) != 0


@attempt
def load_a_kernel_program(_: World) -> bool:
    hash_map = b"\1\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0"
    return syscall("bpf", 0, ctypes.create_string_buffer(hash_map, 128), 128) >= 0


@attempt
def count_kernel_events(_: World) -> int:
    software_events_and_size = b"\1\0\0\0\x80\0\0\0"
    attributes = ctypes.create_string_buffer(software_events_and_size, 128)
    return syscall("perf_event_open", attributes, 0, -1, -1, 0)


@attempt
def handle_page_faults(_: World) -> int:
    return syscall("userfaultfd", 1)


@attempt
def become_dumpable(_: World) -> bool:
    return syscall("prctl", 4, 1, 0, 0, 0) == 0


@attempt
def raise_limits(_: World) -> bool:
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (1, most))
    return True

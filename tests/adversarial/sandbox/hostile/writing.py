"""Try to write, link, delete and change files and terminals."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from tests.adversarial.sandbox.hostile.kit import LIBC, World, attempt


@attempt
def write_a_file(world: World) -> None:
    Path(world["loot"], "file").write_text("x", "utf-8")


@attempt
def write_shared_memory(world: World) -> None:
    Path(world["shared"]).write_text("x", "utf-8")


@attempt
def write_own_code(_: World) -> None:
    with Path(__file__).open("a", encoding="utf-8") as file:
        file.write("# changed\n")


@attempt
def write_bytecode(_: World) -> None:
    Path(__file__).with_name("__pycache__").mkdir()


@attempt
def make_a_folder(world: World) -> None:
    Path(world["loot"], "folder").mkdir()


@attempt
def make_a_symlink(world: World) -> None:
    Path(world["loot"], "link").symlink_to("/etc/passwd")


@attempt
def make_a_hard_link(world: World) -> None:
    Path(world["loot"], "hard").hardlink_to(world["canary"])


@attempt
def delete_a_file(world: World) -> None:
    Path(world["canary"]).unlink()


@attempt
def truncate_while_opening(world: World) -> None:
    os.close(os.open(world["canary"], os.O_RDONLY | os.O_TRUNC))


@attempt
def truncate_by_path(world: World) -> None:
    os.truncate(world["canary"], 0)


@attempt
def rename_a_file(world: World) -> None:
    Path(world["canary"]).rename(Path(world["loot"], "renamed"))


@attempt
def change_a_mode(world: World) -> None:
    Path(world["canary"]).chmod(0o777)


@attempt
def open_a_terminal(_: World) -> bool:
    return os.open("/dev/ptmx", os.O_RDONLY) >= 0


@attempt
def push_into_a_terminal(_: World) -> bool:
    tiocsti = 0x5412
    try:
        return LIBC.ioctl(0, tiocsti, b"x") == 0 or ctypes.get_errno() != errno.EPERM
    finally:
        ctypes.set_errno(0)

"""Assemble a seccomp filter: an allow-list of system calls, some with conditions.

The filter is a straight line of blocks, one per system call. Whatever reaches the end
is answered with an error; a call of another machine's interface ends the process.

Source: Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/filter.h.
"""

import ctypes
import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from tools.jail import kernel, syscalls

PROGRAM_INSTRUCTIONS_MAX: Final = 4096
"""Longest program that the kernel takes (BPF_MAXINSNS)."""

BLOCK_INSTRUCTIONS_MAX: Final = 255
"""Longest rule of one call: a conditional jump goes no further."""

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
ERRNO: Final = 0x00050000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_ALWAYS: Final = 0x05  # BPF_JMP | BPF_JA
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_INSTRUCTION: Final = struct.Struct("=HBBI")
_OFFSET_NUMBER: Final = 0
_OFFSET_MACHINE: Final = 4
_OFFSET_ARGUMENTS: Final = 16

_MODE_FILTER: Final = 1  # SECCOMP_SET_MODE_FILTER

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


class OneOf:
    """A condition: the low 32 bits of an argument are one of these values.

    The kernel reads such arguments (flags, commands) as 32-bit integers itself.
    """

    __slots__ = ("argument", "values")

    def __init__(self, argument: int, *values: int) -> None:
        """Name the argument by its index, 0 to 5."""
        self.argument = argument
        self.values = values

    def instructions(self) -> list[Instruction]:
        """Return code that goes on if it holds, and skips one instruction if not."""
        code: list[Instruction] = [(_LOAD, 0, 0, _low(self.argument))]
        left = len(self.values)
        for value in self.values:
            left -= 1
            # A hit jumps over the other values; the last miss jumps over what follows.
            code.append((_JUMP_EQUAL, left, 0 if left else 1, value))
        return code


class NoneOf:
    """A condition: none of these bits is set in the low 32 bits of an argument."""

    __slots__ = ("argument", "bits")

    def __init__(self, argument: int, bits: int) -> None:
        """Name the argument by its index, 0 to 5."""
        self.argument = argument
        self.bits = bits

    def instructions(self) -> list[Instruction]:
        """Return code that goes on if it holds, and skips one instruction if not."""
        return [(_LOAD, 0, 0, _low(self.argument)), (_JUMP_ANY_BIT, 1, 0, self.bits)]


class Null:
    """A condition: an argument, a pointer of 64 bits, is null."""

    __slots__ = ("argument",)

    def __init__(self, argument: int) -> None:
        """Name the argument by its index, 0 to 5."""
        self.argument = argument

    def instructions(self) -> list[Instruction]:
        """Return code that goes on if it holds, and skips one instruction if not."""
        return [
            (_LOAD, 0, 0, _low(self.argument)),
            (_JUMP_EQUAL, 0, 3, 0),
            (_LOAD, 0, 0, _low(self.argument) + 4),
            (_JUMP_EQUAL, 0, 1, 0),
        ]


Condition = OneOf | NoneOf | Null
Rules = Mapping[str, Sequence[Condition]]
"""System call to the conditions that must all hold; none means always."""


def assemble(rules: Rules, *, machine: str, errors: Mapping[str, int]) -> bytes:
    """Return the program that allows what the rules say, and nothing else.

    Args:
        rules: What is allowed. Calls that the machine never had are left out.
        machine: ``x86_64`` or ``aarch64``.
        errors: Calls that fail with an error of their own instead of EPERM.

    Raises:
        ValueError: The program is longer than PROGRAM_INSTRUCTIONS_MAX, or the rule of
            one call than BLOCK_INSTRUCTIONS_MAX.
        KeyError: A rule names a call or a machine that the table has not.
    """
    code: list[Instruction] = [
        (_LOAD, 0, 0, _OFFSET_MACHINE),
        (_JUMP_EQUAL, 1, 0, syscalls.MACHINES[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, syscalls.X32_BIT),
        (_RETURN, 0, 0, KILL),
    ]
    for name, conditions in rules.items():
        code += _block(syscalls.number(name, on=machine), conditions)
    for name, error in errors.items():
        number = syscalls.number(name, on=machine)
        if number is not None:
            code.append((_JUMP_EQUAL, 0, 1, number))
            code.append((_RETURN, 0, 0, ERRNO | error))
    code.append((_RETURN, 0, 0, ERRNO | errno.EPERM))
    if len(code) > PROGRAM_INSTRUCTIONS_MAX:
        msg = f"{len(code)} instructions, more than {PROGRAM_INSTRUCTIONS_MAX}"
        raise ValueError(msg)
    return b"".join(_INSTRUCTION.pack(*one) for one in code)


def install(program: bytes) -> None:
    """Put the calling process, and all it starts, under a program for good.

    Raises:
        OSError: The kernel has no seccomp, or refused the program.
    """
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count of 16 bits, padding, and the address.
    fprog = struct.pack(
        "@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code)
    )
    number = syscalls.number("seccomp", on=syscalls.machine())
    assert number is not None  # noqa: S101 both machines have it
    kernel.syscall(number, _MODE_FILTER, 0, fprog)


def _low(argument: int) -> int:
    # Both machines are little endian: the low half stands first.
    return _OFFSET_ARGUMENTS + 8 * argument


def _block(number: int | None, conditions: Sequence[Condition]) -> list[Instruction]:
    if number is None:
        return []
    if not conditions:
        return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, ALLOW)]
    tests = [condition.instructions() for condition in conditions]
    # Each test skips one instruction when it fails: a jump to the end of this block,
    # where the call is refused. Jumping back to the list would need the number anew.
    body: list[Instruction] = []
    for test in tests:
        body += [*test, (_JUMP_ALWAYS, 0, 0, 1), (_RETURN, 0, 0, ERRNO | errno.EPERM)]
    body.append((_RETURN, 0, 0, ALLOW))
    if len(body) > BLOCK_INSTRUCTIONS_MAX:
        msg = f"a rule of {len(body)} instructions, more than {BLOCK_INSTRUCTIONS_MAX}"
        raise ValueError(msg)
    return [(_JUMP_EQUAL, 0, len(body), number), *body]

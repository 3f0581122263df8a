"""Name the exit codes of the command line: the same for every command."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    PENDING = 5
    UNREACHABLE = 6

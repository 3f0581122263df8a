"""Run the `counterfoil` command: ``python -P -m broker.cli``.

The processes of the stack are commands too, and are started without loading what only
people's commands need.
"""

import os
import sys


def main() -> None:
    """Run the command that the arguments name."""
    from broker.cli import processes  # noqa: PLC0415 what follows is not always needed

    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in processes.COMMANDS:
        processes.run(command)
        return
    from broker.cli.app import make_app  # noqa: PLC0415

    if "_COUNTERFOIL_COMPLETE" in os.environ:
        from typer._completion_classes import completion_init  # noqa: PLC0415

        completion_init()
        # The words so far stand in a variable: only what they begin with is loaded.
        words = os.environ.get("COMP_WORDS", "").split()
        command = words[1] if len(words) > 2 else ""  # noqa: PLR2004
    make_app(command)(prog_name="counterfoil")


if __name__ == "__main__":
    main()

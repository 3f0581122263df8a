"""Run the `counterfoil` command: ``python -P -m broker.cli``.

The processes of the stack are commands too, and are started without loading what only
people's commands need.
"""

import sys


def main() -> None:
    """Run the command that the arguments name."""
    from broker.cli import processes  # noqa: PLC0415 what follows is not always needed

    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in processes.COMMANDS:
        processes.run(command)
        return
    from broker.cli.app import make_app  # noqa: PLC0415

    make_app(command)(prog_name="counterfoil")


if __name__ == "__main__":
    main()

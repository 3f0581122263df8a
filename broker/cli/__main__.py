"""Run the `counterfoil` command: ``python -P -m broker.cli``.

The processes of the stack are commands too, and are started without loading what only
people's commands need.
"""

import sys


def main() -> None:
    """Run the command that the arguments name."""
    from broker.cli import processes  # noqa: PLC0415 what follows is not always needed

    if sys.argv[1:2] in ([name] for name in processes.COMMANDS):
        processes.run(sys.argv[1])
        return
    from broker.cli.app import make_app  # noqa: PLC0415

    make_app()()


if __name__ == "__main__":
    main()

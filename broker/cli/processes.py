"""Become one of the broker's own processes; the stack starts them by these names."""

import sys

from broker.cli.guard import foreign_owners, ownership_problem

COMMANDS = ("serve", "migrate", "history")


def run(name: str) -> None:
    """Run a process until it ends.

    Beside a distribution that owns one of our import names nothing is started: an
    import could give its module instead of ours, in a process that holds keys.
    """
    problem = ownership_problem(foreign_owners())
    if problem:
        sys.exit(problem)
    match name:
        case "serve":
            from broker.wiring.serving import serve  # noqa: PLC0415 each process loads its own

            serve()
        case "migrate":
            from broker.cli.bootstrap import bootstrap  # noqa: PLC0415
            from broker.cli.migrate import migrate  # noqa: PLC0415

            migrate()
            bootstrap()
        case "history":
            from broker.cli.history.load import load  # noqa: PLC0415

            load()
        case _:
            sys.exit(f"no process is called {name}")

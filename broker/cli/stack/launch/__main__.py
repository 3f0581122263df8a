"""Become one part of the stack: ``python -P -S -m broker.cli.stack.launch ORDER``.

The order is the JSON form of ``Order``; it holds no secret, for other users may read
command lines. A process of its own does this, before anything else runs in it: a user
namespace can be entered by a process with one thread only, and between fork and exec
no Python code of the supervisor has to run.
"""

import os
import resource
import sys

from broker.cli.stack.launch import confine, kernel, namespaces
from broker.cli.stack.launch.order import Order, order_from_json

EXIT_NOT_STARTED = 125


def become(order: Order) -> None:
    """Apply the order and replace this process; return only by raising.

    Raises:
        OSError: A namespace, the rule or the program itself was refused.
    """
    kernel.die_with_parent(parent=order.parent)
    # A core dump would carry keys and passwords out of the process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if order.user_namespace:
        namespaces.enter(network=order.network_namespace)
        kernel.die_with_parent(parent=order.parent)
    if order.confined:
        confine.restrict(read=order.read, write=order.write, hidden=order.hidden)
    os.execv(order.argv[0], order.argv)  # noqa: S606 no shell is the point


if __name__ == "__main__":
    try:
        become(order_from_json(sys.argv[1]))
    except OSError as failure:
        sys.stderr.write(f"not started: {failure}\n")
        sys.exit(EXIT_NOT_STARTED)

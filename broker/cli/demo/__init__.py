"""The demo: the main job end to end, each step checked by what it really did."""

from broker.cli.demo.command import register
from broker.cli.demo.first import first_calls

__all__ = ["first_calls", "register"]

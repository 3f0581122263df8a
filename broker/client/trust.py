"""Whom a broker's certificate may come from."""

import ssl
from functools import cache

import httpx


@cache
def authorities() -> ssl.SSLContext:
    """Return the authorities of this process's environment, read once.

    A session lasts for a command or less, and reading them anew took each 30 to 50 ms.
    """
    return httpx.create_ssl_context()

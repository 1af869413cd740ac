"""Ports for servers that tests start, and start again, at an address that is known before."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port of 127.0.0.1 that nobody else is given until the block ends, whether our server runs or not.

    It stays bound here without being listened on: connecting is refused, the system gives it to nobody, and a server
    that asks for it by number, with SO_REUSEADDR as servers do, gets it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])

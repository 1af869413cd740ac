"""Check that a port is free before anything is started."""

import errno
import socket

from app.errors import ConfigurationError, DispatchError


class PortTaken(DispatchError):
    """Another process listens on the port."""

    status = 503
    code = "port-taken"
    title = "Port taken"


def require_free_port(host: str, port: int) -> None:
    """Raise PortTaken when another process listens there, ConfigurationError when this machine cannot. Port 0 is always free."""
    if port == 0:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} of {host} is taken: another process listens there; end it, or choose another one with --port"
            ) from error
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error

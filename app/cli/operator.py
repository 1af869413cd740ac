"""The person at the command line, for the audit."""

import os
import pwd
import socket

from app.store.audit.actor import Actor


def operator() -> Actor:
    """Return the operator as user@host. The user is the one of the process, not one that its environment names."""
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:
        # A container often runs as a number without a name.
        user = f"uid-{number}"
    return Actor("cli", f"{user}@{socket.gethostname()}")

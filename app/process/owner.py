"""Name of a process of workers, under which it owns sessions."""

import os
from typing import Final
from uuid import uuid4

OWNER_VARIABLE: Final = "KSEFD_OWNER"
"""Environment variable with a name that the supervisor has given the process, so that it can release its sessions after it."""


def process_owner() -> str:
    """Return the name that the supervisor gave this process, or one of its own: no two processes ever have the same."""
    return os.environ.get(OWNER_VARIABLE) or uuid4().hex

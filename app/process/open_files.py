"""Raises the process's limit on open files, of which each connection uses one."""

import resource
from typing import Final

WANTED: Final = 8192


def raise_file_limit() -> int:
    """Raise the soft limit towards the hard one, to 8,192 at most; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return WANTED if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted

"""End of a process together with the process that started it."""

import os
import threading
from multiprocessing import connection
from multiprocessing.process import parent_process


def end_with_parent() -> None:
    """End this process at once when its parent ends. For processes of `multiprocessing`, whose parent may be killed.

    Does nothing in a process without a parent.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="parent-watch", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)

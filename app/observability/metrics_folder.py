"""Folder with the counters of all processes of one machine, set before prometheus_client is imported.

Call `process_environment` once in the process that starts the others, after `sweep_dead_processes`.
"""

import os
import re
import socket
from pathlib import Path
from typing import Final

import psutil

from app.settings import Settings

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

_VALUES_FILE: Final = re.compile(r"^[a-z_]+_(\d+)\.db$")


def metrics_folder(settings: Settings) -> Path:
    """Return the folder of this machine. Another machine may share the data folder, and its process numbers are not ours."""
    return settings.data_dir.expanduser().resolve() / "metrics" / socket.gethostname()


def process_environment(settings: Settings) -> dict[str, str]:
    """Make the folder and return the environment variables for API and worker processes."""
    folder = metrics_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    return {FOLDER_VARIABLE: str(folder)}


def use_metrics_folder(settings: Settings) -> None:
    """Set the variables for this process and its children, unless they are set already.

    Must run before `app.observability.metrics` is imported; `ksefd api` and `ksefd worker` call it before anything else.
    """
    for name, value in process_environment(settings).items():
        os.environ.setdefault(name, value)


def sweep_dead_processes(settings: Settings) -> int:
    """Remove the files of processes that have ended, and return their number.

    Call it at the start: the sums fall by the counters of ended processes, which Prometheus reads as the restart that it is.
    The file of a process number that is in use again stays; its process goes on counting from it.
    """
    removed = 0
    folder = metrics_folder(settings)
    for path in folder.glob("*.db") if folder.is_dir() else ():
        match = _VALUES_FILE.match(path.name)
        if match is not None and not psutil.pid_exists(int(match.group(1))):
            path.unlink(missing_ok=True)
            removed += 1
    return removed

"""Where the processes of one machine keep their counters, to be set before prometheus_client is imported.

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
    """Give the folder of this machine: process numbers mean nothing on another one that shares the data folder."""
    return settings.data_dir.expanduser().resolve() / "metrics" / socket.gethostname()


def process_environment(settings: Settings) -> dict[str, str]:
    """Make the folder and give the variables with which API and worker processes are to be started."""
    folder = metrics_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    return {FOLDER_VARIABLE: str(folder)}


def use_metrics_folder(settings: Settings) -> None:
    """Set the variables for this process and its children; they win over none, and lose to what is set already.

    Must run before `app.observability.metrics` is imported; `ksefd api` and `ksefd worker` do it first thing.
    """
    for name, value in process_environment(settings).items():
        os.environ.setdefault(name, value)


def sweep_dead_processes(settings: Settings) -> int:
    """Remove the values of processes that are gone, and return how many files those were.

    Meant for the start: the counters of the dead fall out of the sums, which Prometheus reads as the restart that it is.
    Values of a number that lives again stay; its process goes on counting from them.
    """
    removed = 0
    folder = metrics_folder(settings)
    for path in folder.glob("*.db") if folder.is_dir() else ():
        match = _VALUES_FILE.match(path.name)
        if match is not None and not psutil.pid_exists(int(match.group(1))):
            path.unlink(missing_ok=True)
            removed += 1
    return removed

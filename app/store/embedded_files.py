"""Files of the embedded PostgreSQL: its cluster, its configuration, and the folder of its socket.

Only our own user can log in, over a socket in a folder that other users cannot enter. PostgreSQL asks the kernel who connects (`peer`),
so there is no password, and a user who reached the socket would be turned away.
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from app.errors import ConfigurationError
from app.store.embedded_account import ServerAccount, programs

_DATABASE_USER: Final = "postgres"
_SOCKET: Final = ".s.PGSQL.5432"
# Linux takes 107 bytes for the path of a socket, other systems 103.
_SOCKET_PATH_BYTES: Final = 103
_INITDB_SECONDS: Final = 120

_CONFIG_NAME: Final = "ksefd.conf"
_CONFIG: Final = """\
# Written by ksefd at each start.
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
wal_compression = on
max_wal_size = 2GB
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9
jit = off
log_min_messages = warning
"""
_LOGINS: Final = """\
# Written by ksefd at each start: only the users of pg_ident.conf, over the socket.
local all all peer map=ksefd
"""


def make_cluster(account: ServerAccount, pgdata: Path) -> None:
    """Make the server's files beside their place and move them there whole: a kill leaves no half-made cluster."""
    if (pgdata / "PG_VERSION").exists():
        return
    making = pgdata.with_name(f"{pgdata.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    account.own(making, 0o700)
    options = ("--auth=peer", "--auth-host=reject", "--encoding=utf8", "-U", _DATABASE_USER)
    with account.reaching(making) as there:
        command = (programs() / "initdb", *options, "-D", there.path)
        account.run(*command, seconds=_INITDB_SECONDS, inherits=there.inherits)
    making.rename(pgdata)


def write_configuration(account: ServerAccount, pgdata: Path, socket_folder: Path) -> bool:
    """Write the settings and the rule who may log in; return whether anything differed from them."""
    names = dict.fromkeys((account.name, pwd.getpwuid(os.geteuid()).pw_name))
    # The server runs in its own folder and makes the socket there by a short path, however long the folder's path is.
    where = "'.'" if socket_folder == pgdata else _folder_value(socket_folder)
    changed = [
        _write(account, pgdata / _CONFIG_NAME, f"{_CONFIG}unix_socket_directories = {where}\n"),
        _write(account, pgdata / "pg_hba.conf", _LOGINS),
        _write(account, pgdata / "pg_ident.conf", "".join(f'ksefd "{name}" {_DATABASE_USER}\n' for name in names)),
    ]
    main = pgdata / "postgresql.conf"
    include = f"include_if_exists = '{_CONFIG_NAME}'"
    text = main.read_text(encoding="utf-8")
    if include not in text:
        main.write_text(f"{text.rstrip()}\n{include}\n", encoding="utf-8")
        changed.append(True)
    return any(changed)


def _write(account: ServerAccount, path: Path, text: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text and stat.S_IMODE(path.stat().st_mode) == 0o600:
        return False
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    account.own(new, 0o600)
    new.replace(path)
    return True


def _folder_value(folder: Path) -> str:
    """Write a folder as PostgreSQL's list of one: in quotes, as its commas would part it, inside the quotes of a value."""
    quoted = str(folder).replace('"', '""').replace("\\", "\\\\").replace("'", "''")
    return f"'\"{quoted}\"'"


def url_of(socket_folder: Path) -> str:
    """Return the address of a server whose socket is in a folder."""
    return f"postgresql://{_DATABASE_USER}@/{_DATABASE_USER}?host={quote(str(socket_folder), safe='/')}"


def choose_socket_folder(account: ServerAccount, pgdata: Path) -> Path:
    """Return the folder for the socket: the cluster's own, or a short private one when the path is too long for a socket.

    The private one is named in a file beside the cluster and used again while it is ours. Raises ConfigurationError when there is none.
    """
    if _fits(pgdata):
        return pgdata
    note = _socket_note(pgdata)
    if note.exists():
        known = Path(note.read_text(encoding="utf-8"))
        if _fits(known) and _is_private(known, account):
            return known
    for base in _short_folders():
        try:
            made = Path(tempfile.mkdtemp(prefix="ksefd-", dir=base))
        except OSError:
            continue
        account.own(made, 0o700)
        if _fits(made) and _is_private(made, account):
            note.write_text(str(made), encoding="utf-8")
            return made
        made.rmdir()
    raise ConfigurationError(
        f"KSEFD_DATA_DIR: {pgdata.parent} is too long for a socket of PostgreSQL, and no shorter folder can be made: "
        "choose a data folder with a shorter path"
    )


def drop_socket_folder(account: ServerAccount, pgdata: Path) -> None:
    """Remove the private folder of a server that has stopped."""
    note = _socket_note(pgdata)
    if not note.exists():
        return
    folder = Path(note.read_text(encoding="utf-8"))
    note.unlink()
    if _is_private(folder, account):
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _socket_note(pgdata: Path) -> Path:
    return pgdata.with_name(f"{pgdata.name}.socket")


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET)) <= _SOCKET_PATH_BYTES


def _is_private(folder: Path, account: ServerAccount) -> bool:
    """Whether a folder is a real one that only the server's user can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == account.user and stat.S_IMODE(found.st_mode) == 0o700


def _short_folders() -> Iterator[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0:
        # Other users cannot make anything in it; the folder of a login would keep PostgreSQL's user out.
        yield "/run"
    elif runtime and Path(runtime).is_dir():
        yield runtime
    yield from (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - the folder made in it is checked

"""The file of a backup: an uncompressed tar with the hash of each member, and a seal over all hashes under the master key.

```
README.txt      for people
backup.json     the facts (`Facts`)
database.dump   pg_dump's custom format
blobs/...       one member a blob
SHA256SUMS      hash and name of every member above; `sha256sum --check` reads it
SEAL            HMAC-SHA256 of SHA256SUMS, under a key derived from the master key
```

A dump holds statements that a restore runs, so no file is restored whose seal was not made with the installation's master key.
Members are read one after the other, in this order and no other, and never held in memory.
"""

import hashlib
import hmac
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol
from uuid import UUID

from app.errors import ConfigurationError

README: Final = "README.txt"
FACTS: Final = "backup.json"
DUMP: Final = "database.dump"
BLOBS: Final = "blobs/"
SUMS: Final = "SHA256SUMS"
SEAL: Final = "SEAL"
FORMAT: Final = 1
SEAL_PURPOSE: Final = "backup-seal"
"""Of the key of the seal."""

_BLOCK: Final = 512
_PIECE: Final = 1 << 20
_SMALL: Final = 1 << 16
_BLOB_NAME: Final = re.compile(r"blobs(/[A-Za-z0-9_()+=@,.-]+)+")


class BackupDamaged(ConfigurationError):
    """The file is no backup, is damaged, or was changed or made by another installation."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about a backup that a restore needs before it begins."""

    format: int
    version: str
    made_at: str
    installation: str
    key_check: str
    revision: str

    @property
    def moment(self) -> datetime:
        """The time of the snapshot."""
        return datetime.fromisoformat(self.made_at)


class Readable(Protocol):
    """As much of a file as is read from front to back."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


class ArchiveWriter:
    """Writes the members of a backup in their order."""

    def __init__(self, file: IO[bytes], sums: IO[bytes]) -> None:
        """`file` is empty and seekable; `sums` gathers the hashes."""
        self._file = file
        self._sums = sums

    def add_small(self, name: str, content: bytes) -> None:
        """Add a member that is held in memory."""
        with self.member(name) as write:
            write(content)

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Add a member piece by piece; its size need not be known before."""
        start, size, digest = self._file.tell(), 0, hashlib.sha256()
        self._file.write(bytes(_BLOCK))

        def write(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            digest.update(piece)
            self._file.write(piece)

        yield write
        self._file.write(bytes(-size % _BLOCK))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(name, size))
        self._file.seek(end)
        self._sums.write(_sum_line(digest.hexdigest(), name))

    def close(self, seal_key: bytes) -> None:
        """Add the hashes and the seal, and end the tar."""
        seal = hmac.new(seal_key, digestmod=hashlib.sha256)
        size = self._sums.tell()
        self._sums.seek(0)
        self._file.write(_header(SUMS, size))
        while piece := self._sums.read(_PIECE):
            seal.update(piece)
            self._file.write(piece)
        self._file.write(bytes(-size % _BLOCK))
        mac = seal.hexdigest().encode() + b"\n"
        self._file.write(_header(SEAL, len(mac)) + mac + bytes(-len(mac) % _BLOCK) + bytes(2 * _BLOCK))


class Member:
    """A member that is being read: read it to its end before the next one."""

    def __init__(self, file: Readable, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._left = size
        self._padding = -size % _BLOCK
        self._digest = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        """Yield the content. Raises BackupDamaged where the file ends before."""
        while self._left:
            piece = self._file.read(min(_PIECE, self._left))
            if not piece:
                raise BackupDamaged(f"the backup ends in the middle of {self.name}: it was cut off")
            self._left -= len(piece)
            self._digest.update(piece)
            yield piece
        padding, self._padding = self._padding, 0
        if self._file.read(padding) != bytes(padding):
            raise BackupDamaged(f"the backup is damaged behind {self.name}")

    def small(self) -> bytes:
        """Return the content of a member of at most 64 KiB."""
        if self.size > _SMALL:
            raise BackupDamaged(f"{self.name} has {self.size} bytes, which no backup of ours has")
        return b"".join(self.pieces())

    @property
    def sha256(self) -> str:
        """The hash of what was read, in hex."""
        return self._digest.hexdigest()


def read_members(file: Readable) -> Iterator[Member]:
    """Yield the members of a backup, in their order. Raises BackupDamaged for anything but regular members of known names."""
    last = ""
    while last != SEAL:
        block = file.read(_BLOCK)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise BackupDamaged(
                f"this is no whole backup: there is no member where one must be, {_behind(last)}"
            ) from error
        if header.type != tarfile.REGTYPE or header.size < 0 or not _may_follow(last, header.name):
            raise BackupDamaged(
                f"{header.name[:100]!r} has no place in a backup {_behind(last)}; nothing of it was used"
            )
        last = header.name
        member = Member(file, header.name, header.size)
        yield member
        for _ in member.pieces():
            # A reader that stopped early must not be taken for one that has read all.
            raise RuntimeError(f"{member.name} was not read to its end")
    if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
        raise BackupDamaged("the end of the backup is missing: it was cut off")
    if file.read(1):
        raise BackupDamaged("something follows the end of the backup")


def _may_follow(last: str, name: str) -> bool:
    if _BLOB_NAME.fullmatch(name) and not {".", ".."} & set(name.split("/")):
        return last == DUMP or last.startswith(BLOBS)
    followers = {"": README, README: FACTS, FACTS: DUMP, DUMP: SUMS, SUMS: SEAL}
    return name == (SUMS if last.startswith(BLOBS) else followers.get(last))


def _behind(last: str) -> str:
    return f"behind {last}" if last else "at its beginning"


def read_facts(content: bytes) -> Facts:
    """Return the facts of a backup. Raises BackupDamaged, also for a format that this version does not know."""
    try:
        found: dict[str, Any] = json.loads(content)
        if found.get("format") != FORMAT:
            raise BackupDamaged(f"the backup has format {found.get('format')!r}, this version reads {FORMAT}")
        facts = Facts(**{name: found[name] for name in Facts.__dataclass_fields__})
        UUID(facts.installation)
        if facts.moment.tzinfo is None or len(bytes.fromhex(facts.key_check)) != hashlib.sha256().digest_size:
            raise BackupDamaged(f"{FACTS} of the backup is damaged")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupDamaged(f"{FACTS} of the backup is damaged") from error
    return facts


def facts_content(facts: Facts) -> bytes:
    """Return the content of the member with the facts."""
    return json.dumps(asdict(facts), indent=2).encode() + b"\n"


def verify(file: Readable, sums: IO[bytes], *, seal_key_of: Callable[[Facts], bytes]) -> Facts:
    """Read a whole backup, compare every hash and the seal, and write the hashes to `sums`.

    `seal_key_of` returns the key of the seal, or raises when the master key is another one. Raises BackupDamaged.
    """
    facts: Facts | None = None
    key = b""
    for member in read_members(file):
        if member.name == FACTS:
            facts = read_facts(member.small())
            key = seal_key_of(facts)
        elif member.name == SUMS:
            mac = _verify_sums(member, sums, key)
            continue
        elif member.name == SEAL:
            if not hmac.compare_digest(member.small().strip(), mac):
                raise BackupDamaged(
                    "the seal of the backup does not fit: it was changed, or was not made by this installation; nothing of it was used"
                )
            continue
        else:
            for _ in member.pieces():
                # Read for its hash.
                continue
        sums.write(_sum_line(member.sha256, member.name))
    if facts is None:
        raise BackupDamaged("the backup has no facts")
    return facts


def _verify_sums(member: Member, sums: IO[bytes], key: bytes) -> bytes:
    """Compare the hashes that a backup declares with those of its members, line by line, and return the seal that fits them."""
    seal = hmac.new(key, digestmod=hashlib.sha256)
    size = sums.tell()
    sums.seek(0)
    for declared in _lines(member, seal.update):
        counted = sums.readline()
        if declared != counted:
            name = counted[66:].decode("utf-8", "replace").strip() or "a member"
            raise BackupDamaged(f"{name} of the backup is damaged: it does not have the hash that {SUMS} declares")
    if sums.tell() != size:
        raise BackupDamaged(f"{SUMS} of the backup does not name every member")
    return seal.hexdigest().encode()


def _lines(member: Member, update: Callable[[bytes], None]) -> Iterator[bytes]:
    rest = b""
    for piece in member.pieces():
        update(piece)
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _SMALL:
            raise BackupDamaged(f"{SUMS} of the backup is damaged")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


def _sum_line(digest: str, name: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def next_sum(sums: IO[bytes]) -> tuple[str, str]:
    """Return hash and name of the next line of verified hashes."""
    digest, _, name = sums.readline().decode().rstrip("\n").partition("  ")
    return digest, name


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    block = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
    if len(block) != _BLOCK or (name.startswith(BLOBS) and not _BLOB_NAME.fullmatch(name)):
        raise ConfigurationError(f"{name} cannot be named in a backup")
    return block


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file with mode 0600 that appears under its name whole and durable, or not at all. Raises ConfigurationError."""
    folder = path.parent
    hidden = folder / f".{path.name}.{os.getpid()}.part"
    try:
        with os.fdopen(os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        hidden.unlink(missing_ok=True)

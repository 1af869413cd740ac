"""Ways to write archives that no program writes: every field of a ZIP, a tar or a form can be a lie."""

import struct
import tarfile
import zlib
from dataclasses import dataclass
from typing import Final

from tests.hostile.harness import invoice

END: Final = bytes(1024)


@dataclass
class Entry:
    """One entry of a ZIP; what is None follows from the content."""

    name: bytes = b"x.xml"
    content: bytes = b"<a>"
    method: int = 8
    flags: int = 0
    system: int = 0
    attributes: int = 0
    size: int | None = None
    stored: int | None = None
    offset: int | None = None
    crc: int | None = None
    data: bytes | None = None
    extra: bytes = b""
    local_name: bytes | None = None
    disk: int = 0


def deflated(content: bytes, level: int = 9) -> bytes:
    """Return a raw deflate stream."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    return deflater.compress(content) + deflater.flush()


def zip_of(*entries: Entry, count: int | None = None, end: bool = True, directory: bytes | None = None) -> bytes:
    """Return a ZIP of these entries."""
    body = bytearray()
    lines = bytearray()
    for entry in entries:
        data = entry.data
        if data is None:
            data = deflated(entry.content) if entry.method == 8 else entry.content
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        size = len(entry.content) if entry.size is None else entry.size
        stored = len(data) if entry.stored is None else entry.stored
        offset = len(body) if entry.offset is None else entry.offset
        name = entry.name if entry.local_name is None else entry.local_name
        local = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, entry.flags, entry.method, 0, 0x21, crc, stored, size, len(name), 0
        )
        if entry.offset is None:
            body += local + name + data
        lines += struct.pack(
            "<4sBB5H3L5H2L", b"PK\1\2", 20, entry.system, 20, entry.flags, entry.method, 0, 0x21, crc, stored, size,
            len(entry.name), len(entry.extra), 0, entry.disk, 0, entry.attributes, offset,
        )  # fmt: skip
        lines += entry.name + entry.extra
    told = len(entries) if count is None else count
    written = bytes(lines) if directory is None else directory
    closing = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, told & 0xFFFF, told & 0xFFFF, len(written), len(body), 0)
    return bytes(body) + written + (closing if end else b"")


def good(number: str) -> Entry:
    """Return a valid invoice as an entry."""
    return Entry(f"{number}.xml".encode(), invoice(number))


def between(*entries: Entry) -> bytes:
    """Return a ZIP with these entries between two valid invoices."""
    return zip_of(good("before"), *entries, good("after"))


def member(name: str, content: bytes = b"<a/>", kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """Return a tar header with its data, without an end."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def sized(header: bytes, field: bytes) -> bytes:
    """Return a tar header with another size field and a checksum that holds."""
    changed = bytearray(header)
    changed[124:136] = field.ljust(12, b"\0")
    changed[148:156] = b"%06o\0 " % (sum(changed[:148]) + sum(changed[156:512]) + 256)
    return bytes(changed)


def good_member(number: str) -> bytes:
    """Return a valid invoice as a tar entry."""
    return member(f"{number}.xml", invoice(number))


def tar_between(*pieces: bytes) -> bytes:
    """Return a tar with these pieces between two valid invoices."""
    return good_member("before") + b"".join(pieces) + good_member("after") + END


def part(name: str, content: bytes, headers: str = "") -> bytes:
    """Return a form part with the boundary B."""
    head = f'--B\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


def form_between(*pieces: bytes, end: bytes = b"--B--\r\n") -> bytes:
    """Return a form with these pieces between two valid invoices."""
    return part("before.xml", invoice("before")) + b"".join(pieces) + part("after.xml", invoice("after")) + end

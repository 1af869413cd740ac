"""Writers of many invoices into a ZIP, tar.gz, NDJSON or folder, one invoice in memory at a time.

Memory does not grow with the number of invoices; a ZIP's directory is kept in a temporary file.
"""

import base64
import json
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Protocol

from isal import isal_zlib

_DIRECTORY_IN_MEMORY = 4 << 20
_COPY_BYTES = 1 << 20
_ISAL_LEVEL = 2
_RAW_WINDOW = -15
_GZIP_WINDOW = 31
_DATE_1980 = 0x0021
"""The time of all entries, 1 January 1980 in MS-DOS form, so that archives of the same invoices have the same bytes."""
_UTF8_NAMES = 0x0800
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF


class Document(Protocol):
    """An object with a file name and the bytes of an invoice."""

    @property
    def name(self) -> str:
        """File name inside the archive."""
        ...

    @property
    def xml(self) -> bytes:
        """The bytes of the invoice."""
        ...


Target = str | Path | BinaryIO


@contextmanager
def _opened(target: Target) -> Iterator[BinaryIO]:
    if isinstance(target, str | Path):
        with open(target, "wb") as file:
            yield file
    else:
        yield target


def write_zip(target: Target, invoices: Iterable[Document]) -> int:
    """Write a ZIP archive (deflate, ZIP64 where needed) and return the number of its entries.

    `target` is a path or a binary file, which need not be seekable and stays open.
    """
    count = offset = 0
    with _opened(target) as file, SpooledTemporaryFile(max_size=_DIRECTORY_IN_MEMORY) as directory:
        for invoice in invoices:
            name = invoice.name.encode()
            packer = isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, _RAW_WINDOW)
            packed = packer.compress(invoice.xml) + packer.flush()
            common = struct.pack(
                "<HHHHIIIH",
                _UTF8_NAMES,
                8,
                0,
                _DATE_1980,
                zlib.crc32(invoice.xml),
                len(packed),
                len(invoice.xml),
                len(name),
            )
            file.write(b"PK\x03\x04" + struct.pack("<H", 20) + common + struct.pack("<H", 0) + name)
            file.write(packed)
            far = offset >= _MAX_32
            extra = struct.pack("<HHQ", 1, 8, offset) if far else b""
            directory.write(
                b"PK\x01\x02" + struct.pack("<HH", 45 if far else 20, 45 if far else 20) + common
                + struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, min(offset, _MAX_32)) + name + extra
            )  # fmt: skip
            offset += 30 + len(name) + len(packed)
            count += 1
        size = directory.tell()
        directory.seek(0)
        while block := directory.read(_COPY_BYTES):
            file.write(block)
        if count >= _MAX_16 or offset >= _MAX_32 or size >= _MAX_32:
            file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset))
            file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, offset + size, 1))
        file.write(
            b"PK\x05\x06"
            + struct.pack("<HHHH", 0, 0, min(count, _MAX_16), min(count, _MAX_16))
            + struct.pack("<IIH", min(size, _MAX_32), min(offset, _MAX_32), 0)
        )
    return count


def write_targz(target: Target, invoices: Iterable[Document]) -> int:
    """Write a tar.gz archive and return the number of its entries; `target` as for `write_zip`."""
    count = 0
    packer = isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    with _opened(target) as file:
        for invoice in invoices:
            # tarfile.TarFile keeps every entry in memory, so only its headers are used.
            header = tarfile.TarInfo(invoice.name)
            header.size = len(invoice.xml)
            file.write(packer.compress(header.tobuf(tarfile.PAX_FORMAT, "utf-8")))
            file.write(packer.compress(invoice.xml + bytes(-len(invoice.xml) % tarfile.BLOCKSIZE)))
            count += 1
        file.write(packer.compress(bytes(2 * tarfile.BLOCKSIZE)) + packer.flush())
    return count


def write_ndjson(target: Target, invoices: Iterable[Document]) -> int:
    """Write a JSON object for each line (`name`, `xml_base64`) and return their number; `target` as for `write_zip`."""
    count = 0
    with _opened(target) as file:
        for invoice in invoices:
            row = {"name": invoice.name, "xml_base64": base64.b64encode(invoice.xml).decode("ascii")}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def write_folder(folder: str | Path, invoices: Iterable[Document]) -> int:
    """Write each invoice as a file and return the number of files; the folder is created if it is missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for invoice in invoices:
        (folder / invoice.name).write_bytes(invoice.xml)
        count += 1
    return count

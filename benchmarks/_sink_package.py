"""Processing of a package by the sink: decrypts, unpacks, hashes, numbers and confirms all invoices without a check.

It runs in the sandbox's pool. The whole package is in memory, a few dozen megabytes for 10,000 invoices.
"""

import binascii
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from html import unescape
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from isal import isal_zlib

from app.domain.ksef_number import CHECKSUMMED_LENGTH, crc8, make_ksef_number
from sandbox.pool.outcome import UpoJob
from sandbox.pool.seal import sealed
from sandbox.pool.upo import upo_document

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LOCAL_LENGTHS: Final = struct.Struct("<2H")
_LOCAL_SIZE: Final = 30
_DEFLATED: Final = 8
_RAW_WINDOW: Final = -15
_GZIP_WINDOW: Final = 31
_TAR_BLOCK: Final = 512
_MOST_DOCUMENTS: Final = 1 << 24
"""The most invoices of a session: their KSeF numbers have three bytes for the invoice's position."""


@dataclass(frozen=True, slots=True)
class SinkJob:
    """One closed package."""

    parts: tuple[Path, ...]
    key: bytes
    iv: bytes
    compression: str
    serial: int
    """The session's number, which makes its KSeF numbers unique in this run of the sink."""
    opened_on: date
    """The Polish day; invoices with an earlier date count as issued offline."""
    offline_mode: bool
    sent: str
    acquired: str
    page_documents: int


class _Taken(NamedTuple):
    """One invoice: its hash, the sort key, and the fields that the receipt quotes."""

    sha256: bytes
    seller_nip: bytes
    number: bytes
    issue_date: bytes


@dataclass(frozen=True, slots=True)
class TakenPackage:
    """Result of a package."""

    hashes: bytes
    """SHA-256 of every invoice, concatenated."""
    pages: tuple[tuple[int, bytes], ...]
    """For each page of the receipt the number of invoices and the elements that confirm them."""


def take_package(job: SinkJob) -> TakenPackage:
    """Accept all invoices of a package. Raises ValueError, struct.error or isal_zlib's error for a broken package."""
    package = decrypted(job)
    documents = _read_targz(package) if job.compression == "TarGz" else _read_zip(package)
    # Sort as the sandbox does: KSeF's order is not that of the archive.
    taken = sorted(map(_read_invoice, documents))
    numbers = ksef_numbers([one.seller_nip for one in taken], job.opened_on, job.serial)
    elements = _elements(job, taken, numbers)
    return TakenPackage(
        b"".join(one.sha256 for one in taken),
        tuple(
            (len(page), b"".join(page))
            for start in range(0, len(elements), job.page_documents)
            if (page := elements[start : start + job.page_documents])
        ),
    )


def seal_page(job: UpoJob, elements: bytes) -> str:
    """Write the signed page that confirms `elements` to `job.target` and return the Base64 SHA-256 of the file.

    `job` has no invoices: `elements` are inserted in the sandbox's page.
    """
    head = upo_document(job)
    end = head.rindex(b"</")
    content = sealed(b"".join((head[:end], elements, head[end:])), job.seal_key_pem, job.seal_certificate_pem)
    job.target.write_bytes(content)
    return _base64(hashlib.sha256(content).digest()).decode("ascii")


def decrypted(job: SinkJob) -> bytes:
    """Decrypt the parts and return the package: the parts without their padding, concatenated."""
    plain: list[bytes] = []
    for path in job.parts:
        decryptor = Cipher(algorithms.AES256(job.key), modes.CBC(job.iv)).decryptor()
        padded = decryptor.update(path.read_bytes()) + decryptor.finalize()
        plain.append(padded[: -padded[-1]])
    return b"".join(plain)


def _read_zip(package: bytes) -> Iterator[bytes]:
    """Yield the invoices in the order of the directory, which ends the archive: a package has no comment and no ZIP64."""
    *_, entries, _, position, _ = _END.unpack_from(package, len(package) - _END.size)
    view = memoryview(package)
    for _ in range(entries):
        fields = _CENTRAL.unpack_from(package, position)
        method, packed, unpacked, name, extra, comment, offset = (*fields[4:5], *fields[8:13], fields[16])
        position += _CENTRAL.size + name + extra + comment
        start = offset + _LOCAL_SIZE + sum(_LOCAL_LENGTHS.unpack_from(package, offset + _LOCAL_SIZE - 4))
        content = view[start : start + packed]
        yield isal_zlib.decompress(content, _RAW_WINDOW, unpacked) if method == _DEFLATED else bytes(content)


def _read_targz(package: bytes) -> Iterator[bytes]:
    tar = isal_zlib.decompress(package, _GZIP_WINDOW)
    position = 0
    while tar[position]:
        size = int(tar[position + 124 : position + 135], 8)
        position += _TAR_BLOCK
        yield tar[position : position + size]
        position += size + -size % _TAR_BLOCK


def _read_invoice(document: bytes) -> _Taken:
    """Hash an invoice and find the receipt's fields by name, in the order of FA(3), without a parser.

    The seller's NIP is the first one in an invoice; P_1 and P_2 follow all parties.
    """
    seller = document.find(b"NIP>") + 4
    issued = document.find(b"P_1>", seller) + 4
    number = document.find(b"P_2>", issued) + 4
    return _Taken(
        hashlib.sha256(document).digest(),
        document[seller : seller + 10],
        document[number : document.find(b"<", number)],
        document[issued : issued + 10],
    )


def ksef_numbers(sellers: list[bytes], day: date, serial: int) -> list[bytes]:
    """Return a KSeF number for each seller NIP, all different: three bytes are the session, three the invoice.

    Raises ValueError for an invalid NIP.
    """
    if len(sellers) > _MOST_DOCUMENTS:
        raise ValueError("more documents than numbers")
    endings = _endings(len(sellers))
    beginnings = {nip: _beginning(nip.decode("ascii"), day, serial) for nip in set(sellers)}
    return [
        b"%s%s-%02X" % (beginning[0], digits, beginning[1] ^ checksum)
        for beginning, (digits, checksum) in zip(map(beginnings.__getitem__, sellers), endings, strict=True)
    ]


def _beginning(nip: str, day: date, serial: int) -> tuple[bytes, int]:
    """Return the common beginning of a seller's numbers in a session, and its share in their checksum.

    A CRC that starts with zero and has no final XOR is linear: the CRC of a text is the XOR of the CRC of its beginning followed
    by zero bytes and the CRC of its end, independent of leading zero bytes. So no part is computed twice.
    """
    technical = (serial % _MOST_DOCUMENTS).to_bytes(3, "big") + bytes(3)
    beginning = make_ksef_number(nip, day, technical)[: CHECKSUMMED_LENGTH - 6].encode("ascii")
    return beginning, crc8(beginning + bytes(6))


@cache
def _endings(count: int) -> list[tuple[bytes, int]]:
    """Return the last six digits of the first `count` numbers, with their share in the checksum."""
    digits = (b"%06X" % index for index in range(count))
    return [(one, crc8(one)) for one in digits]


def _elements(job: SinkJob, taken: list[_Taken], numbers: list[bytes]) -> list[bytes]:
    """Build the receipt's element of each invoice, in canonical form and in the element order of the schema UPO v4-3."""
    times = (
        b"<DataPrzeslaniaDokumentu>%s</DataPrzeslaniaDokumentu><DataNadaniaNumeruKSeF>%s</DataNadaniaNumeruKSeF>"
        % (
            job.sent.encode(),
            job.acquired.encode(),
        )
    )
    online_from = b"9999" if job.offline_mode else job.opened_on.isoformat().encode()
    return [
        b"<Dokument><NipSprzedawcy>%s</NipSprzedawcy><NumerKSeFDokumentu>%s</NumerKSeFDokumentu><NumerFaktury>%s"
        b"</NumerFaktury><DataWystawieniaFaktury>%s</DataWystawieniaFaktury>%s<SkrotDokumentu>%s</SkrotDokumentu>"
        b"<TrybWysylki>%s</TrybWysylki></Dokument>"
        % (
            one.seller_nip,
            ksef_number,
            _canonical(one.number),
            one.issue_date,
            times,
            _base64(one.sha256),
            b"Online" if one.issue_date >= online_from else b"Offline",
        )
        for one, ksef_number in zip(taken, numbers, strict=True)
    ]


def _canonical(text: bytes) -> bytes:
    """Escape an invoice number as canonical XML does, on one line."""
    if b"&" in text:
        text = escape(unescape(text.decode())).encode()
    return b" ".join(text.split())


def _base64(digest: bytes) -> bytes:
    return binascii.b2a_base64(digest, newline=False)

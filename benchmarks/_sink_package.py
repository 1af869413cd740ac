"""What the sink does with a package: decrypt, unpack, hash, number, confirm. It refuses nothing and judges nothing.

Runs in the sandbox's pool. A package is held in memory whole, which is a few dozen megabytes for 10,000 invoices.
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
"""What the three bytes can count in which a KSeF number says which document of its session it is."""


@dataclass(frozen=True, slots=True)
class SinkJob:
    """One closed package."""

    parts: tuple[Path, ...]
    key: bytes
    iv: bytes
    compression: str
    serial: int
    """Of the session, under which its KSeF numbers are unique in this run of the sink."""
    opened_on: date
    """The Polish day; documents that are dated earlier count as issued offline."""
    offline_mode: bool
    sent: str
    acquired: str
    page_documents: int


class _Taken(NamedTuple):
    """One document: its hash first, by which they are put in order, and what the receipt quotes of it."""

    sha256: bytes
    seller_nip: bytes
    number: bytes
    issue_date: bytes


@dataclass(frozen=True, slots=True)
class TakenPackage:
    """What became of a package."""

    hashes: bytes
    """SHA-256 of every document, one behind the other."""
    pages: tuple[tuple[int, bytes], ...]
    """Number of documents and the elements that confirm them, a page of the receipt each."""


def take_package(job: SinkJob) -> TakenPackage:
    """Take whatever the package holds. Raises ValueError, struct.error or isal_zlib's error for what is no package."""
    package = decrypted(job)
    documents = _read_targz(package) if job.compression == "TarGz" else _read_zip(package)
    # As the sandbox does: KSeF's order is not that of the archive, and nobody shall come to rely on it.
    taken = sorted(map(_look_at, documents))
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
    """Write the signed page that confirms `elements` to `job.target`; the Base64 SHA-256 of the file comes back.

    `job` has no documents: around them the page is the sandbox's.
    """
    head = upo_document(job)
    end = head.rindex(b"</")
    content = sealed(b"".join((head[:end], elements, head[end:])), job.seal_key_pem, job.seal_certificate_pem)
    job.target.write_bytes(content)
    return _base64(hashlib.sha256(content).digest()).decode("ascii")


def decrypted(job: SinkJob) -> bytes:
    """Return the package: each part decrypted on its own, without its padding, one behind the other."""
    plain: list[bytes] = []
    for path in job.parts:
        decryptor = Cipher(algorithms.AES256(job.key), modes.CBC(job.iv)).decryptor()
        padded = decryptor.update(path.read_bytes()) + decryptor.finalize()
        plain.append(padded[: -padded[-1]])
    return b"".join(plain)


def _read_zip(package: bytes) -> Iterator[bytes]:
    """Return the documents as the directory lists them. It ends the archive: a package has neither comment nor ZIP64."""
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


def _look_at(document: bytes) -> _Taken:
    """Hash a document and read what a receipt quotes, by name and in the order of FA(3) instead of by a parser.

    The seller's NIP is the first in a document, P_1 and P_2 follow all parties.
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
    """Return a KSeF number for each seller NIP, all different: three bytes say which session, three which document.

    Raises ValueError for what is no NIP.
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
    """What the numbers of a seller in a session have in common, and its share in their checksum.

    A CRC that begins with zero and flips nothing at its end is linear: that of a text is the XOR of those of its beginning
    with zero bytes behind and of its end, with no regard for how many zero bytes stand before. So none is computed twice.
    """
    technical = (serial % _MOST_DOCUMENTS).to_bytes(3, "big") + bytes(3)
    beginning = make_ksef_number(nip, day, technical)[: CHECKSUMMED_LENGTH - 6].encode("ascii")
    return beginning, crc8(beginning + bytes(6))


@cache
def _endings(count: int) -> list[tuple[bytes, int]]:
    """Return the last six digits of so many numbers, with their share in the checksum."""
    digits = (b"%06X" % index for index in range(count))
    return [(one, crc8(one)) for one in digits]


def _elements(job: SinkJob, taken: list[_Taken], numbers: list[bytes]) -> list[bytes]:
    """Return the element of each document, in canonical form: element order as in the schema of the UPO, v4-3."""
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
    """Return an invoice number as canonical XML has it, and in one line."""
    if b"&" in text:
        text = escape(unescape(text.decode())).encode()
    return b" ".join(text.split())


def _base64(digest: bytes) -> bytes:
    return binascii.b2a_base64(digest, newline=False)

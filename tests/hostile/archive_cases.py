"""Hostile archives, streams and forms."""

import base64
import gzip
import json
import struct
import tarfile
import zlib
from typing import Final

from app.reading.kinds import BodyKind
from tests.hostile.bodies import (
    END,
    Entry,
    between,
    deflated,
    form_between,
    good,
    good_member,
    member,
    part,
    sized,
    tar_between,
    zip_of,
)
from tests.hostile.harness import Case, invoice, many

_CHECKED: Final = {"entry-damaged": 1}


def _line(number: str) -> bytes:
    return json.dumps({"name": f"{number}.xml", "xml": invoice(number).decode()}).encode() + b"\n"


def _lines_between(*lines: bytes) -> bytes:
    return _line("before") + b"".join(lines) + _line("after")


def _overlapping() -> bytes:
    """All entries have the same bytes: the body grows by 46 bytes for each of 250,000 documents (D. Fifield, 2019)."""
    kernel = deflated(b"<" + b" " * 900_000)
    first = Entry(b"k.xml", b"<" + b" " * 900_000, data=kernel)
    again = Entry(b"k.xml", b"<" + b" " * 900_000, data=kernel, offset=0)
    return zip_of(first, *[again] * many(250_000), count=0)[:-22] + _end64(many(250_000) + 1)


def _end64(entries: int, *, size: int | None = None, offset: int | None = None) -> bytes:
    """Return end records that say ZIP64; sizes of the directory of `_overlapping` and `_many` where none is given."""
    size = 51 * entries if size is None else size
    offset = _KERNEL_END if offset is None else offset
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
    return record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0)


_KERNEL_END: Final = 30 + 5 + len(deflated(b"<" + b" " * 900_000))


def _too_many() -> bytes:
    """A directory of more entries than are taken, which all lie at the same place."""
    count = many(1_000_000) + 1
    local = zip_of(Entry(b"k.xml", b"", method=0), end=False)
    at = local.index(b"PK\1\2")
    return local[:at] + local[at:] * count + _end64(count, size=51 * count, offset=at)


def _zip64_size(size: int) -> Entry:
    extra = struct.pack("<HHQQ", 1, 16, size, 4)
    return Entry(content=b"<a/>", method=0, size=0xFFFF_FFFF, stored=0xFFFF_FFFF, extra=extra)


def _itself() -> bytes:
    """A ZIP whose entry is the ZIP itself, as far as its directory says."""
    inner = zip_of(Entry(b"me.zip", b"<a/>", method=0))
    return inner.replace(struct.pack("<LL", 4, 4), struct.pack("<LL", len(inner) - 36, len(inner) - 36))


def _pax(*records: tuple[str, str]) -> bytes:
    text = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        text += str(length).encode() + body
    return member("pax", text, tarfile.XHDTYPE)


def _split_gzip(body: bytes, step: int) -> bytes:
    return b"".join(gzip.compress(body[at : at + step], 1) for at in range(0, len(body), step))


ZIP, TAR, TARGZ = BodyKind.ZIP, BodyKind.TAR, BodyKind.TARGZ
NDJSON, FORM, XML = BodyKind.NDJSON, BodyKind.MULTIPART, BodyKind.XML

_EMPTY_MEMBER: Final = gzip.compress(b"")

CASES: Final = [
    # ZIP
    Case("zip: entry of zeros, ratio 1000", ZIP, lambda: between(Entry(content=bytes(2_900_000))), refused={"entry-ratio": 1}),
    Case("zip: entry of a gigabyte", ZIP, lambda: between(Entry(size=1 << 30)), refused={"entry-too-large": 1}),
    Case("zip: longer than it says", ZIP, lambda: between(Entry(content=bytes(900_000), size=4)), refused=_CHECKED),
    Case("zip: many entries of the same bytes", ZIP, _overlapping, valid=0, refused={"entry-overlaps": many(250_000), "not-well-formed": 1}),
    Case("zip: entry inside another", ZIP, lambda: between(Entry(method=0), Entry(offset=0, content=invoice("z"))), refused={"entry-overlaps": 1, "not-well-formed": 1}),
    Case("zip: its own entry", ZIP, _itself, valid=0, refused=_CHECKED),
    Case("zip: archive in an archive", ZIP, lambda: between(Entry(content=zip_of(good("n")))), refused={"entry-is-an-archive": 1}),
    Case("zip: gzip bomb in an archive", ZIP, lambda: between(Entry(content=gzip.compress(bytes(50_000_000)), method=0)), refused={"entry-is-an-archive": 1}),
    Case("zip: path out of the folder", ZIP, lambda: between(Entry(b"../../../etc/cron.d/x", invoice("t"))), valid=3),
    Case("zip: absolute name and drive", ZIP, lambda: between(Entry(b"/etc/passwd", invoice("t")), Entry(b"C:\\x.xml", invoice("u"))), valid=4),
    Case("zip: name of 64 KB", ZIP, lambda: between(Entry(b"n" * 65_535)), refused={"entry-name-unusable": 1}),
    Case("zip: name of 65,000 marks", ZIP, lambda: between(Entry(b"a" + "\u0301".encode() * 32_000)), refused={"entry-name-unusable": 1}),
    Case("zip: NUL in a name", ZIP, lambda: between(Entry(b"a.xml\0.exe", invoice("t"))), valid=3),
    Case("zip: control characters and turned text in a name", ZIP, lambda: between(Entry("\x1b[2J\u202elmx\n".encode(), invoice("t"))), valid=3),
    Case("zip: no name", ZIP, lambda: between(Entry(b"", invoice("t"))), valid=3),
    Case("zip: one name many times", ZIP, lambda: between(*[Entry(b"before.xml")] * 50), refused={"not-well-formed": 50}),
    Case("zip: encrypted", ZIP, lambda: between(Entry(flags=1)), refused={"entry-encrypted": 1}),
    Case("zip: encrypted by AES", ZIP, lambda: between(Entry(flags=1, method=99)), refused={"entry-encrypted": 1}),
    Case("zip: bzip2, lzma, zstd, deflate64", ZIP, lambda: between(*(Entry(method=m) for m in (12, 14, 93, 9))), refused={"entry-method-unsupported": 4}),
    Case("zip: wrong checksum", ZIP, lambda: between(Entry(crc=1)), refused=_CHECKED),
    Case("zip: no deflate at all", ZIP, lambda: between(Entry(data=b"\xff" * 100)), refused=_CHECKED),
    Case("zip: deflate that ends too early", ZIP, lambda: between(Entry(content=invoice("t"), data=deflated(invoice("t"))[:-9])), refused=_CHECKED),
    Case("zip: stored with two sizes", ZIP, lambda: between(Entry(method=0, size=5)), refused=_CHECKED),
    Case("zip: local name is another", ZIP, lambda: between(Entry(local_name=b"y.xml")), refused=_CHECKED),
    Case("zip: entry beyond the end", ZIP, lambda: between(Entry(offset=1 << 31)), refused=_CHECKED),
    Case("zip: links, devices, sockets", ZIP, lambda: between(*(Entry(system=3, attributes=m << 16) for m in (0o120777, 0o020666, 0o060666, 0o140777))), refused={"entry-not-a-file": 4}),
    Case("zip: ZIP64 size of exabytes", ZIP, lambda: between(_zip64_size(1 << 62)), refused={"entry-too-large": 1}),
    Case("zip: ZIP64 without its numbers", ZIP, lambda: between(Entry(size=0xFFFF_FFFF)), valid=1, error="zip-directory-damaged"),
    Case("zip: ZIP64 end record in nowhere", ZIP, lambda: between()[:-22] + _end64(2, size=9, offset=1 << 60), valid=0, error="zip-directory-damaged"),
    Case("zip: more entries than told", ZIP, lambda: zip_of(good("a"), good("b"), count=1), valid=1, error="zip-directory-damaged"),
    Case("zip: fewer entries than told", ZIP, lambda: zip_of(good("a"), count=3), valid=0, error="zip-directory-damaged"),
    Case("zip: no directory", ZIP, lambda: zip_of(good("a"), directory=b"", end=False), valid=0, error="zip-truncated"),
    Case("zip: one of several volumes", ZIP, lambda: between()[:-18] + b"\1\0\1\0" + between()[-14:], valid=0, error="zip-in-volumes"),
    Case("zip: entry on another volume", ZIP, lambda: between(Entry(disk=3)), valid=1, error="zip-directory-damaged"),
    Case("zip: something behind it", ZIP, lambda: between() + b"<?php ?>", valid=0, error="zip-data-after-end"),
    Case("zip: one entry too many", ZIP, _too_many, valid=0, error="too-many-entries", refused={"entry-overlaps": many(1_000_000) - 1, "empty-document": 1}),
    Case("zip: 60,000 folders", ZIP, lambda: between(*[Entry(b"f/", b"", method=0)] * 60_000)),
    Case("zip: empty", ZIP, zip_of, valid=0, error="no-invoices-found"),
    Case("zip: no bytes", ZIP, lambda: b"", valid=0, error="not-a-zip"),
    # tar
    Case("tar: links, devices, pipes", TAR, lambda: tar_between(*(member("l", b"", kind, linkname="/etc/passwd") for kind in (b"1", b"2", b"3", b"4", b"6"))), refused={"entry-not-a-file": 5}),
    Case("tar: path out of the folder", TAR, lambda: tar_between(member("../../x.xml", invoice("t"))), valid=3),
    Case("tar: negative size", TAR, lambda: good_member("a") + sized(member("x"), b"\xff" * 12), valid=1, error="tar-damaged"),
    Case("tar: size of exabytes", TAR, lambda: good_member("a") + sized(member("x"), b"\x80" + b"\x3f" * 11), valid=1, refused={}, error="tar-truncated"),
    Case("tar: size of no digits", TAR, lambda: good_member("a") + sized(member("x"), b"9z"), valid=1, error="tar-damaged"),
    Case("tar: wrong checksum", TAR, lambda: good_member("a") + b"y" + member("x")[1:], valid=1, error="tar-damaged"),
    Case("tar: sparse file of a terabyte", TAR, lambda: tar_between(member("s", b"<a/>", tarfile.GNUTYPE_SPARSE)), refused={"entry-method-unsupported": 1}),
    Case("tar: name of 60,000 letters", TAR, lambda: tar_between(member("n" * 60_000)), refused={"entry-name-unusable": 1}),
    Case("tar: long name of gigabytes", TAR, lambda: good_member("a") + sized(member("@LongLink", b"n", b"L"), b"\x80\0\0\0\0\0\0\0\xff\0\0\0"), valid=1, error="tar-truncated"),
    Case("tar: extended header of gigabytes", TAR, lambda: good_member("a") + sized(member("x", b"n", b"x"), b"\x80\0\0\0\0\0\0\0\xff\0\0\0"), valid=1, error="tar-damaged"),
    Case("tar: extended headers without end", TAR, lambda: good_member("a") + _pax(("path", "p")) * 100_000, valid=1, error="tar-truncated"),
    Case("tar: extended header of a million records", TAR, lambda: tar_between(member("pax", b"6 a=b\n" * 170_000, b"x"), good_member("x")), valid=3),
    Case("tar: extended header with a length that lies", TAR, lambda: good_member("a") + member("pax", b"999999999 path=x\n", b"x"), valid=1, error="tar-damaged"),
    Case("tar: NUL in an extended path", TAR, lambda: tar_between(_pax(("path", "a\0b.xml")), good_member("x")), valid=3),
    Case("tar: extended size that hides the rest", TAR, lambda: good_member("a") + _pax(("size", "99999999999999999999")) + good_member("x") + END, valid=1, error="tar-truncated"),
    Case("tar: extended size of 4,000 digits", TAR, lambda: good_member("a") + _pax(("size", "9" * 4_000)) + good_member("x") + END, valid=1, error="tar-damaged"),
    Case("tar: another tar behind it", TAR, lambda: tar_between() + tar_between(), error="tar-data-after-end"),
    Case("tar: no end", TAR, lambda: good_member("a"), valid=1, error="tar-truncated"),
    Case("tar: empty", TAR, lambda: END, valid=0, error="no-invoices-found"),
    Case("tar: 100,000 folders", TAR, lambda: tar_between(member("f/", b"", tarfile.DIRTYPE) * 100_000)),
    # gzip
    Case("gzip: bomb in a tar", TARGZ, lambda: gzip.compress(good_member("a") + member("x", bytes(100_000_000)) + END), valid=1, refused={}, error="gzip-ratio"),
    Case("gzip: bomb within a bomb", TARGZ, lambda: gzip.compress(gzip.compress(bytes(100_000_000))), valid=0, error="not-a-tar"),
    Case("gzip: a million empty members", TARGZ, lambda: gzip.compress(tar_between()) + _EMPTY_MEMBER * many(1_000_000)),
    Case("gzip: a member for each byte", TARGZ, lambda: _split_gzip(tar_between(), 1)),
    Case("gzip: more members than are taken", TARGZ, lambda: gzip.compress(tar_between()) + _EMPTY_MEMBER * many(2_100_000), error="too-much-else"),
    Case("gzip: header of endless name", TARGZ, lambda: b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"x" * 50_000_000, valid=0, error="gzip-truncated"),
    Case("gzip: something behind it", TARGZ, lambda: gzip.compress(tar_between()) + b"<?php ?>" * 9, error="gzip-data-after-end"),
    Case("gzip-coded: bomb of lines", NDJSON, lambda: gzip.compress(_line("a") + b"\n" * 100_000_000), valid=1, error="gzip-ratio", gzip_coded=True),
    Case("gzip-coded: line without end", NDJSON, lambda: gzip.compress(_line("a") + base64.b64encode(zlib.compress(bytes(999)) * 3_000_000), 1), valid=1, refused={"line-too-long": 1}, gzip_coded=True),
    Case("gzip-coded: cut", NDJSON, lambda: gzip.compress(_line("a") + _line("b") * 400)[:-10], valid=400, error="gzip-truncated", gzip_coded=True),
    Case("gzip-coded: document of a gigabyte", XML, lambda: gzip.compress(b"<" + bytes(50_000_000)), valid=0, refused={"entry-too-large": 1}, error="gzip-ratio", gzip_coded=True),
    Case("gzip-coded: form part without end", FORM, lambda: gzip.compress(form_between(part("x.xml", bytes(range(256)) * 40_000))), refused={"entry-too-large": 1}, gzip_coded=True),
    # NDJSON
    Case("ndjson: line without end", NDJSON, lambda: _line("a") + b'{"xml": "' + b"x" * 60_000_000, valid=1, refused={"line-too-long": 1}),
    Case("ndjson: no JSON", NDJSON, lambda: _lines_between(b"<a/>\n", b"{]\n", b"\xff\xfe\n", b"[]\n"), refused={"line-not-json": 4}),
    Case("ndjson: a key twice", NDJSON, lambda: _lines_between(b'{"xml": "<a/>", "xml": "<b/>"}\n'), refused={"line-key-twice": 1}),
    Case("ndjson: a million nested lists", NDJSON, lambda: _lines_between(b'{"xml": ' + b"[" * 1_000_000 + b"\n"), refused={"line-not-json": 1}),
    Case("ndjson: a million nested objects", NDJSON, lambda: _lines_between(b'{"xml": ' + b'{"a":' * 1_000_000 + b"\n"), refused={"line-not-json": 1}),
    Case("ndjson: number of a million digits", NDJSON, lambda: _lines_between(b'{"xml": ' + b"9" * 1_000_000 + b"}\n"), refused={"line-not-json": 1}),
    Case("ndjson: number of a great power", NDJSON, lambda: _lines_between(b'{"xml": 1e999999999}\n'), refused={"line-shape": 1}),
    Case("ndjson: 200,000 other keys", NDJSON, lambda: _lines_between(json.dumps({f"k{i}": i for i in range(200_000)} | {"xml": "<a>"}).encode() + b"\n"), refused={"not-well-formed": 1}),
    Case("ndjson: half of a pair of surrogates", NDJSON, lambda: _lines_between(b'{"name": "\\ud800", "xml": "<a>\\ud800</a>"}\n'), refused={"line-text": 1}),
    Case("ndjson: bad Base64", NDJSON, lambda: _lines_between(b'{"xml_base64": "PGEv*"}\n', b'{"xml_base64": "PGE"}\n'), refused={"line-base64": 2}),
    Case("ndjson: Base64 of four megabytes", NDJSON, lambda: _lines_between(b'{"xml_base64": "' + base64.b64encode(bytes(4_000_000)) + b'"}\n'), refused={"entry-too-large": 1}),
    Case("ndjson: both or neither", NDJSON, lambda: _lines_between(b"{}\n", b'{"xml": "", "xml_base64": ""}\n', b'{"xml": 1}\n'), refused={"line-shape": 3}),
    Case("ndjson: fifty million blank lines", NDJSON, lambda: _lines_between(b"\n" * 50_000_000)),
    # forms
    Case("form: no end", FORM, lambda: form_between(end=b""), valid=1, error="multipart-truncated"),
    Case("form: headers of 20 KB", FORM, lambda: part("a.xml", invoice("a")) + b"--B\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n", valid=1, error="multipart-damaged"),
    Case("form: header without a colon", FORM, lambda: part("a.xml", invoice("a")) + b"--B\r\nnothing\r\n\r\n\r\n--B--", valid=1, error="multipart-damaged"),
    Case("form: a million empty parts", FORM, lambda: form_between(b"--B\r\n\r\n\r\n" * many(1_000_000))),
    Case("form: more empty parts than are taken", FORM, lambda: form_between(b"--B\r\n\r\n\r\n" * many(3_000_000)), valid=1, error="too-much-else"),
    Case("form: ten million half delimiters", FORM, lambda: form_between(part("x.xml", b"\r\n--" * 700_000)), refused={"not-well-formed": 1}),
    Case("form: delimiters that are none", FORM, lambda: form_between(part("x.xml", b"\r\n--Bx" * 400_000)), refused={"not-well-formed": 1}),
    Case("form: part of 60 MB", FORM, lambda: form_between(part("x.xml", bytes(60_000_000))), refused={"entry-too-large": 1}),
    Case("form: part in Base64", FORM, lambda: form_between(part("x.xml", b"PGEvPg==", "Content-Transfer-Encoding: base64\r\n")), refused={"part-encoding": 1}),
    Case("form: archive that is cut, twice", FORM, lambda: form_between(part("x.zip", between()[:-9]), part("y.tgz", gzip.compress(tar_between())[:-9])), valid=4, error="zip-truncated"),
    Case("form: many gzip bombs", FORM, lambda: form_between(part("x.tgz", gzip.compress(member("x", bytes(900_000)) + END)) * many(3_000)), refused={"not-well-formed": many(3_000)}),
    Case("form: file name of 15 KB", FORM, lambda: form_between(part("n" * 15_000, invoice("t"))), refused={"entry-name-unusable": 1}),
    Case("form: form in a form", FORM, lambda: form_between(part("x", b"--C\r\n\r\n<a/>\r\n--C--", "Content-Type: multipart/mixed; boundary=C\r\n")), refused={"not-well-formed": 1}),
    Case("form: empty", FORM, lambda: b"--B--", valid=0, error="no-invoices-found"),
    # one document
    Case("body: nothing", XML, lambda: b"", valid=0, refused={"empty-document": 1}),
    Case("body: document of 60 MB", XML, lambda: bytes(60_000_000), valid=0, refused={"entry-too-large": 1}),
]  # fmt: skip

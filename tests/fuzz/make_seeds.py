"""`python -m tests.fuzz.make_seeds FOLDER`: the first inputs of the fuzzers, small bodies of every kind."""

import io
import sys
import tarfile
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.archive_target import WAYS
from tests.fuzz.document_target import first_documents

FILES = {"a.xml": b"<a/>", "folder/b.xml": b"<b>" + b"b" * 60 + b"</b>", "._c": b"\0\5\x16\7" + bytes(20), "d/": b""}
# By their place in WAYS.
_RAW, _TAR, _TARGZ, _NDJSON, _MULTIPART, _XML, _TAR_REPAIRED, _TARGZ_REPAIRED, _GZIP, _ZIP_REPAIRED = range(10)
_CODED_NDJSON, _CODED_MULTIPART, _CODED_XML, _CODED_TAR = range(10, 14)


def first_bodies() -> Iterator[bytes]:
    """Yield small inputs of the archive fuzzer that reach every kind of body."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        yield bytes((_RAW, 1)) + _zip(method)
    yield bytes((_RAW, 0)) + _zip(zipfile.ZIP_DEFLATED, streamed=True)
    yield bytes((_RAW, 0)) + _zip(zipfile.ZIP_DEFLATED, force_zip64=True)
    yield (
        bytes((_ZIP_REPAIRED, 1))
        + b"\0\0\x08\0a.xml|<a/>|PK|\0\x08\0\0\xb9.xml|<b/>|PK|\1\0\x08\0c|c|PK|\0\0\x08\0d|PK\3\4"
    )
    for shape in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        tar = _tar(shape)
        for way in (_TAR, _TAR_REPAIRED, _TARGZ_REPAIRED, _CODED_TAR):
            yield bytes((way, 2)) + tar
        yield bytes((_TARGZ, 2)) + WAYS[_GZIP].make(tar)
    yield bytes((_GZIP, 0)) + bytes(9_000)
    line = b'{"name":"a","xml":"<a/>"}\n{"name":"b","xml_base64":"' + b64encode(b"<b/>") + b'"}\r\n\n[]\n{"xml":1}'
    for ndjson, xml, multipart in ((_NDJSON, _XML, _MULTIPART), (_CODED_NDJSON, _CODED_XML, _CODED_MULTIPART)):
        yield bytes((ndjson, 1)) + line
        yield bytes((xml, 0)) + b"<a/>"
        yield bytes((multipart, 1)) + _multipart(line)


def _zip(method: int, *, streamed: bool = False, force_zip64: bool = False) -> bytes:
    buffer = io.BytesIO()
    file = _Unseekable(buffer) if streamed else buffer
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in FILES.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            with archive.open(entry, "w", force_zip64=force_zip64) as target:
                target.write(content)
    return buffer.getvalue()


class _Unseekable(io.RawIOBase):
    """Makes zipfile write data descriptors."""

    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]  # no typeshed name
        """Hand everything on."""
        return self._target.write(data)


def _tar(shape: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=shape) as archive:
        for name, content in {**FILES, "n" * 120 + "ą": b"<long/>"}.items():
            if shape == tarfile.USTAR_FORMAT and len(name) > 100:
                continue
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue().rstrip(b"\0") + bytes(3 * 512)


def _multipart(line: bytes) -> bytes:
    parts = (
        (b'form-data; name="f"; filename="a.xml"', b"", b"<a/>"),
        (b"form-data; name=\"f\"; filename*=UTF-8''%C4%85.xml", b"Content-Type: text/xml\r\n", b"<b/>"),
        (b'form-data; name="z"; filename="z.zip"', b"Content-Type: application/zip\r\n", _zip(zipfile.ZIP_STORED)),
        (b'form-data; name="n"', b"Content-Type: application/x-ndjson\r\n", line),
        (b'form-data; name="field"', b"", b"value"),
        (b'form-data; filename="e"', b"Content-Transfer-Encoding: base64\r\n", b"PGEvPg=="),
    )
    body = b"".join(
        b"--x\r\nContent-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + content + b"\r\n"
        for disposition, more, content in parts
    )
    return body + b"--x--\r\n"


def main(folder: Path) -> None:
    """Write the seeds into two folders below this one."""
    for name, inputs in (("archives", first_bodies()), ("documents", first_documents())):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (target / f"first-{number:02d}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The kind of an upload body: by content type over HTTP, by name and first bytes on the command line."""

from enum import StrEnum
from typing import Final

from python_multipart.multipart import parse_options_header

from app.errors import UnsupportedContentType
from app.reading.tar_header import is_header
from app.reading.wide_encodings import first_character, wide_encoding


class BodyKind(StrEnum):
    """The kinds of bodies that hold invoices."""

    ZIP = "zip"
    TARGZ = "tar.gz"
    TAR = "tar"
    NDJSON = "ndjson"
    MULTIPART = "multipart"
    XML = "xml"

    @property
    def content_type(self) -> str:
        """Return the content type that `POST /v1/uploads` documents for this kind (multipart: no boundary)."""
        return _CANONICAL[self]


_CANONICAL: Final = {
    BodyKind.ZIP: "application/zip",
    BodyKind.TARGZ: "application/gzip",
    BodyKind.TAR: "application/x-tar",
    BodyKind.NDJSON: "application/x-ndjson",
    BodyKind.MULTIPART: "multipart/form-data",
    BodyKind.XML: "application/xml",
}

# Besides the documented types, other names that clients and operating systems use for them.
_KINDS: Final = {content_type: kind for kind, content_type in _CANONICAL.items()} | {
    "application/x-zip": BodyKind.ZIP,
    "application/x-zip-compressed": BodyKind.ZIP,
    "application/x-gzip": BodyKind.TARGZ,
    "application/x-gtar": BodyKind.TARGZ,
    "application/x-tgz": BodyKind.TARGZ,
    "application/x-compressed-tar": BodyKind.TARGZ,
    "application/x-tar+gzip": BodyKind.TARGZ,
    "application/tar+gzip": BodyKind.TARGZ,
    "application/tar": BodyKind.TAR,
    "application/ndjson": BodyKind.NDJSON,
    "application/jsonl": BodyKind.NDJSON,
    "application/x-jsonlines": BodyKind.NDJSON,
    "application/jsonlines": BodyKind.NDJSON,
    "multipart/mixed": BodyKind.MULTIPART,
    "text/xml": BodyKind.XML,
}

_SUFFIXES: Final = {
    ".zip": BodyKind.ZIP,
    ".tar.gz": BodyKind.TARGZ,
    ".tgz": BodyKind.TARGZ,
    ".tar": BodyKind.TAR,
    ".ndjson": BodyKind.NDJSON,
    ".jsonl": BodyKind.NDJSON,
    ".xml": BodyKind.XML,
}


def body_kind(content_type: str) -> BodyKind:
    """Return the kind that a Content-Type header names; parameters are tolerated.

    Raises UnsupportedContentType for any other type, and for multipart without a usable boundary.
    """
    essence = content_type.partition(";")[0].strip().lower()
    kind = _KINDS.get(essence)
    if kind is None:
        known = ", ".join(_CANONICAL.values())
        raise UnsupportedContentType(f"{essence[:100]!r} cannot be read; send one of {known}")
    if kind is BodyKind.MULTIPART:
        boundary_of(content_type)
    return kind


def takes_gzip(kind: BodyKind) -> bool:
    """Return whether a body of this kind may have `Content-Encoding: gzip`.

    A ZIP is read from its end, and compressing a compressed body gains nothing.
    """
    return kind not in {BodyKind.ZIP, BodyKind.TARGZ}


def kind_of_part(content_type: str) -> BodyKind | None:
    """Return the kind that a part of a multipart body declares, None when it declares no known kind."""
    return _KINDS.get(content_type.partition(";")[0].strip().lower())


def boundary_of(content_type: str) -> str:
    """Return the boundary of a multipart Content-Type.

    Raises UnsupportedContentType when there is none or it is not 1 to 70 printable ASCII characters
    (RFC 2046, section 5.1.1).
    """
    options = parse_options_header(content_type)[1] if content_type.isascii() else {}
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70 or not all(0x20 <= byte < 0x7F for byte in boundary) or boundary[-1] == 0x20:
        raise UnsupportedContentType("A multipart body needs a boundary of 1 to 70 characters in its content type")
    return boundary.decode("ascii")


def sniff(path_name: str, head: bytes) -> BodyKind | None:
    """Return the kind of a file by its first bytes (512 are enough), then by its name; None when neither decides.

    Never MULTIPART: such bodies exist in requests, not in files. An XML or NDJSON file is known by its first character only.
    """
    if head[:4] in {b"PK\3\4", b"PK\5\6"}:
        return BodyKind.ZIP
    if head[:2] == b"\x1f\x8b":
        return BodyKind.TARGZ
    if is_header(head):
        return BodyKind.TAR
    encoding = wide_encoding(head)
    first = first_character(head, encoding or "utf-8")
    if first == "<":
        return BodyKind.XML
    if first == "{":
        return BodyKind.NDJSON
    return _kind_of_name(path_name) or (BodyKind.XML if encoding else None)


def names_archive(name: str) -> bool:
    """Return whether a file's name is that of a body with several invoices."""
    return _kind_of_name(name) not in {None, BodyKind.XML} or name.lower().endswith((".ndjson.gz", ".jsonl.gz"))


def _kind_of_name(name: str) -> BodyKind | None:
    lowered = name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if lowered.endswith(suffix)), None)

"""One entry as stored in the body, and the document that a pool process decodes from it."""

import binascii
import json
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from isal import isal_zlib

from app.reading import faults
from app.reading.faults import EntryFault, EntryUnreadable
from app.reading.names import clean_name

_RAW_DEFLATE: Final = -15
_ARCHIVE_MAGICS: Final = (b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")
_BOM: Final = b"\xef\xbb\xbf"
_NO_SPACE: Final = str.maketrans("", "", " \t\r\n")


class Encoding(StrEnum):
    """The encoding that `decode_entry` reverses to get the document."""

    PLAIN = "plain"
    DEFLATE = "deflate"
    NDJSON_LINE = "ndjson-line"


@dataclass(slots=True)
class RawEntry:
    """One entry, not decoded yet. It is not frozen and is pickled as its fields, since each invoice needs one.

    `index` counts from 0 in the order of the body, faulty entries included and skipped folders and system
    files not. `name` is safe to show. `size` (bytes of the document) and `crc32` are the values in the body,
    None where it has none. When `fault` is set the payload is empty and `decode_entry` raises.
    """

    index: int
    name: str
    encoding: Encoding
    payload: bytes
    size: int | None = None
    crc32: int | None = None
    fault: EntryFault | None = None

    def __reduce__(self) -> tuple[type["RawEntry"], tuple[Any, ...]]:
        fields = (self.index, self.name, self.encoding, self.payload, self.size, self.crc32, self.fault)
        return RawEntry, fields


class Document(NamedTuple):
    """The bytes of one document, and its name in the body. It may be something other than XML."""

    name: str
    content: bytes
    deflated: bytes | None = None
    """The document as one complete raw DEFLATE stream, if the body held it so and zlib has read it to its end."""


def decode_entry(entry: RawEntry, max_bytes: int) -> Document:
    """Return the document of an entry. It inflates, parses JSON and decodes Base64, so call it in the pool.

    Makes at most `max_bytes` + 1 bytes of document, independent of the declared size. Size and CRC-32 are
    checked where the body has them. Raises EntryUnreadable, whose `finding()` is this entry's verdict.
    """
    if entry.fault is not None:
        raise EntryUnreadable(entry.fault)
    name, deflated = entry.name, None
    match entry.encoding:
        case Encoding.PLAIN:
            content = entry.payload
        case Encoding.DEFLATE:
            content, deflated = _inflate(entry, max_bytes)
        case Encoding.NDJSON_LINE:
            name, content = _parse_line(entry, max_bytes)
    if len(content) > max_bytes:
        raise EntryUnreadable(faults.too_large(max_bytes))
    if entry.size is not None and len(content) != entry.size:
        raise EntryUnreadable(
            faults.damaged(
                f"it has {len(content)} bytes instead of {entry.size}",
                f"ma {len(content)} bajtów zamiast {entry.size}",
            )
        )
    if entry.crc32 is not None and isal_zlib.crc32(content) != entry.crc32:
        raise EntryUnreadable(faults.damaged("its checksum is wrong", "suma kontrolna się nie zgadza"))
    if content.startswith(_ARCHIVE_MAGICS):
        raise EntryUnreadable(faults.IS_AN_ARCHIVE)
    return Document(name, content, deflated)


def _inflate(entry: RawEntry, max_bytes: int) -> tuple[bytes, bytes | None]:
    """Return the document, and its stream if the package may take it unchanged.

    zlib inflates it, though isal needs two thirds of the time: every reader accepts a stream that zlib accepts, so it can be sent unchanged.
    """
    limit = max_bytes if entry.size is None else min(max_bytes, entry.size)
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    try:
        content = inflater.decompress(entry.payload, limit + 1)
    except zlib.error as error:
        fault = faults.damaged("its data cannot be inflated", "danych nie można rozpakować")
        raise EntryUnreadable(fault) from error
    if len(content) > max_bytes:
        raise EntryUnreadable(faults.too_large(max_bytes))
    if len(content) > limit:
        fault = faults.damaged("it is longer than declared", "jest dłuższa, niż podano")
        raise EntryUnreadable(fault)
    if not inflater.eof:
        raise EntryUnreadable(faults.damaged("its data end too early", "dane kończą się za wcześnie"))
    return content, None if inflater.unused_data else entry.payload


def _parse_line(entry: RawEntry, max_bytes: int) -> tuple[str, bytes]:
    try:
        # The bytes are decoded here, since `json` would take a line of UTF-16, too.
        line: Any = json.loads(entry.payload.removeprefix(_BOM).decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise EntryUnreadable(faults.line_not_utf8(entry.payload[error.start : error.start + 1])) from error
    except (ValueError, RecursionError) as error:
        raise EntryUnreadable(faults.line_not_json()) from error
    if not isinstance(line, dict):
        raise EntryUnreadable(faults.line_not_json())
    name, encoded, text = line.get("name"), line.get("xml_base64"), line.get("xml")
    if not isinstance(name, str | None) or (encoded is None) == (text is None):
        raise EntryUnreadable(faults.LINE_SHAPE)
    shown = clean_name(name, entry.index) if name else entry.name
    if isinstance(encoded, str):
        return shown, _decode_base64(encoded, max_bytes)
    if isinstance(text, str):
        if len(text) > max_bytes:
            raise EntryUnreadable(faults.too_large(max_bytes))
        try:
            return shown, text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise EntryUnreadable(faults.LINE_TEXT) from error
    raise EntryUnreadable(faults.LINE_SHAPE)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of its pairs. A repeated key is a fault, since two programs would read different documents from it."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise EntryUnreadable(faults.LINE_KEY_TWICE)
    return made


def _decode_base64(encoded: str, max_bytes: int) -> bytes:
    try:
        compact = encoded.translate(_NO_SPACE) if "\n" in encoded or " " in encoded else encoded
        if len(compact) // 4 * 3 > max_bytes + 3:
            raise EntryUnreadable(faults.too_large(max_bytes))
        return binascii.a2b_base64(compact, strict_mode=True)
    except ValueError as error:
        raise EntryUnreadable(faults.LINE_BASE64) from error

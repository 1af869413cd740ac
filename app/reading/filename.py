"""The file name of a form part, in every notation that clients use."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header

from app.reading.names import decode_name

_EXTENDED: Final = re.compile(rb"(?:^|;)\s*filename\*\s*=\s*([A-Za-z0-9_.+-]*)'[A-Za-z0-9-]*'([^\s;]*)", re.IGNORECASE)
_CHARSETS: Final = {
    b"utf-8": "utf-8",
    b"iso-8859-1": "iso8859_1",
    b"iso-8859-2": "iso8859_2",
    b"windows-1250": "cp1250",
}
# What browsers write for the three characters that would end the quoted text (HTML Standard, multipart/form-data
# encoding); an escape of anything else may be part of a name.
_BROWSER_ESCAPES: Final = ((b"%22", b'"'), (b"%0D", b"\r"), (b"%0A", b"\n"))


def field_of(disposition: bytes) -> str:
    """Return the name of the form field, empty when there is none."""
    return decode_name(parse_options_header(disposition)[1].get(b"name", b""))


def filename_of(disposition: bytes) -> str | None:
    """Return the file name of a Content-Disposition value, None when it has none.

    `filename="..."` is quoted by backslash (curl, RFC 9110) or by percent (browsers), in UTF-8 or a Polish code page. Some
    libraries write `filename*=utf-8''...` (RFC 5987) although RFC 7578, section 4.2, forbids it in forms; it is taken when
    there is no plain form.
    """
    name = parse_options_header(disposition)[1].get(b"filename")
    if name is not None:
        for escape, character in _BROWSER_ESCAPES:
            name = name.replace(escape, character)
        return decode_name(name)
    extended = _EXTENDED.search(disposition)
    if extended is None:
        return None
    raw = unquote_to_bytes(extended[2])
    charset = _CHARSETS.get(extended[1].lower())
    return raw.decode(charset, "replace") if charset else decode_name(raw)

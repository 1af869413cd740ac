"""Finds the certificates, keys and containers in the bytes of one file: PEM blocks among other text, Base64, or DER."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from app.ksef.login.credential_files import der
from app.ksef.login.credential_files.refusals import CredentialRefused, Reason

MAX_FILE_BYTES: Final = 1 << 20
_MAX_BLOCKS: Final = 100

_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,40})-----")
_END: Final = re.compile(r"-----END ([A-Z0-9][A-Z0-9 ]{0,40})-----")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*:")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*")


class Content(Enum):
    """The content of a block, by its outline."""

    CERTIFICATE = "a certificate"
    CERTIFICATES = "a list of certificates (PKCS#7)"
    CONTAINER = "a PKCS#12 file"
    KEY = "a private key"
    ENCRYPTED_KEY = "an encrypted private key"
    OLD_ENCRYPTED_KEY = "a private key with the encryption of old PEM files"
    OPENSSH_KEY = "a private key of OpenSSH"
    REQUEST = "a certificate request (CSR)"
    PUBLIC_KEY = "a public key"
    UNKNOWN = "something else"


_OUTLINES: Final = {
    (der.SEQUENCE, der.SEQUENCE, der.BIT_STRING): Content.CERTIFICATE,
    (der.SEQUENCE, der.BIT_STRING): Content.PUBLIC_KEY,
    (der.INTEGER, der.INTEGER): Content.PUBLIC_KEY,
    (der.SEQUENCE, der.OCTET_STRING): Content.ENCRYPTED_KEY,
    (der.OBJECT_IDENTIFIER, 0xA0): Content.CERTIFICATES,
    (der.INTEGER, der.SEQUENCE): Content.CONTAINER,
    (der.INTEGER, der.SEQUENCE, der.SEQUENCE): Content.CONTAINER,
}
"""The tags of a sequence's members, and what it is."""

_KEY_OUTLINES: Final = {
    (der.INTEGER, der.SEQUENCE, der.OCTET_STRING),  # PKCS#8
    (der.INTEGER, der.OCTET_STRING),  # SEC1
    (der.INTEGER, der.INTEGER, der.INTEGER),  # PKCS#1
}
"""How the members of an unencrypted private key begin."""


@dataclass(frozen=True, slots=True)
class Block:
    """One object of a file: DER, or the PEM text of a key with the encryption of old PEM files."""

    content: Content
    data: bytes = field(repr=False)


def blocks_of(data: bytes, name: str) -> list[Block]:
    """Return the objects in the file `name` ("certificate file"). Raises CredentialRefused when there are none."""
    if len(data) > MAX_FILE_BYTES:
        raise CredentialRefused(
            Reason.TOO_LARGE,
            f"the {name} is larger than 1 MiB, so it is another file: give the file of the certificate",
        )
    if not data.strip(b"\0 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise CredentialRefused(Reason.EMPTY, f"the {name} is empty: export or copy it again")
    text = _text(data)
    if text is None:
        blocks = [Block(_content_of(data), data)]
    elif "-----BEGIN" in text:
        blocks = list(_pem_blocks(text, name))
    else:
        blocks = [_bare_block(text)]
    known = [block for block in blocks if block.content is not Content.UNKNOWN]
    if not known:
        if text is None and _is_cut_off(data):
            raise CredentialRefused(Reason.DAMAGED, f"the {name} is cut off: copy it again, as a binary file")
        raise CredentialRefused(
            Reason.FOREIGN,
            f"the {name} has no certificate and no key in it: give a PEM, DER (.cer, .crt, .der) or PKCS#12 (.p12, .pfx) file",
        )
    return known


def _text(data: bytes) -> str | None:
    """Decode a text file, UTF-16 of Windows too; None for a binary one."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    for encoding in ("utf-16-le", "utf-16-be"):
        # Each of the two contains the other's pattern, one byte further.
        if data.find("-----BEGIN".encode(encoding)) % 2 == 0:
            return data.decode(encoding, errors="replace")
    if _content_of(data) is not Content.UNKNOWN:
        return None
    if b"-----BEGIN " in data:
        return data.decode("latin-1")  # The text around the blocks may have any encoding.
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        return data[3:].decode("latin-1") if data.startswith(b"\xef\xbb\xbf") else None


def _bare_block(text: str) -> Block:
    """KSeF gives certificates as Base64 without the lines of PEM, and some people save them so."""
    if _BASE64.fullmatch(text) is None:
        return Block(Content.UNKNOWN, b"")
    decoded = _decoded("".join(text.split()))
    return Block(_content_of(decoded), decoded) if decoded else Block(Content.UNKNOWN, b"")


def _pem_blocks(text: str, name: str) -> Iterator[Block]:
    label, lines, found = None, list[str](), 0
    for line in (line.strip() for line in text.splitlines()):
        begin = _BEGIN.search(line)
        if label is None:
            label, lines = (begin[1], []) if begin else (None, [])
            continue
        end = _END.search(line)
        if end is not None and end[1] == label:
            found += 1
            if found > _MAX_BLOCKS:
                raise CredentialRefused(
                    Reason.TOO_LARGE,
                    f"the {name} has more than {_MAX_BLOCKS} PEM blocks: give only the certificate's own chain",
                )
            yield _pem_block(label, lines, name)
            label = None
        elif begin is not None or end is not None:
            break
        else:
            lines.append(line)
    if label is not None:
        raise CredentialRefused(
            Reason.DAMAGED, f"the {name} is cut off: it has no line '-----END {label}-----'; copy the whole file"
        )


def _pem_block(label: str, lines: list[str], name: str) -> Block:
    headers = [line for line in lines if _HEADER.match(line)]
    body = "".join(line for line in lines if not _HEADER.match(line))
    decoded = _decoded(body)
    if not decoded:
        raise CredentialRefused(
            Reason.DAMAGED,
            f"the {name} is damaged: the text under '-----BEGIN {label}-----' is not Base64; copy the file again",
        )
    if label == "OPENSSH PRIVATE KEY":
        return Block(Content.OPENSSH_KEY, decoded)
    if any(line.startswith("DEK-Info:") for line in headers):
        wrapped = [body[at : at + 64] for at in range(0, len(body), 64)]
        pem = [f"-----BEGIN {label}-----", *headers, "", *wrapped, f"-----END {label}-----", ""]
        return Block(Content.OLD_ENCRYPTED_KEY, "\n".join(pem).encode("ascii", errors="replace"))
    if label == "TRUSTED CERTIFICATE":
        # OpenSSL's own form has its trust settings behind the certificate.
        decoded = _first_only(decoded)
    content = _content_of(decoded)
    if content is Content.UNKNOWN and label not in {"EC PARAMETERS", "DH PARAMETERS", "X509 CRL"}:
        raise CredentialRefused(
            Reason.DAMAGED,
            f"the {name} is damaged: what stands under '-----BEGIN {label}-----' cannot be read; copy the file again",
        )
    return Block(content, decoded)


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _first_only(data: bytes) -> bytes:
    try:
        return der.first_only(data)
    except ValueError:
        return data


def _is_cut_off(data: bytes) -> bool:
    """Whether the data is a DER file whose end is missing."""
    if len(data) < 2 or data[0] != der.SEQUENCE or data[1] not in range(0x80, 0x84):
        return False
    try:
        der.first_only(data)
    except ValueError:
        return True
    return False


def _content_of(data: bytes) -> Content:
    """Return the content of a DER or BER object, by the tags of its members."""
    try:
        members = der.outline(data)
    except ValueError:
        return Content.UNKNOWN
    tags = tuple(tag for tag, _ in members)
    inner = members[0][1] if members else ()
    if tags[:2] in _KEY_OUTLINES or tags[:3] in _KEY_OUTLINES:
        return Content.KEY
    content = _OUTLINES.get(tags, Content.UNKNOWN)
    # A certificate has its version or serial number first; a request has its version first and its attributes last.
    if content is Content.CERTIFICATE and inner[:1] == (der.INTEGER,) and inner[-1:] == (0xA0,):
        return Content.REQUEST
    return content

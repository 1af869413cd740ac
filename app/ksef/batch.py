"""Calls that open and close a batch session. `storage` uploads the parts in between.

Source: KSeF API 2.9, POST /sessions/batch and POST /sessions/batch/{referenceNumber}/close;
ksef-docs, sesja-wsadowa.md.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from app.domain.timestamps import to_utc
from app.ksef.answers import Answer
from app.ksef.error_classification import unreadable
from app.ksef.models import SHA256_BYTES, OpenedBatchSession, read_model
from app.ksef.transport import Call, LimitGroup

MAX_PARTS = 50
IV_BYTES = 16

OPEN = Call(LimitGroup.BATCH_SESSION, "POST", "/sessions/batch", frozenset({200, 201}))
CLOSE = Call(LimitGroup.BATCH_SESSION_CLOSE, "POST", "/sessions/batch/{referenceNumber}/close", frozenset({204}))


class CompressionType(StrEnum):
    """The compression of the package (CompressionType)."""

    ZIP = "Zip"
    TAR_GZ = "TarGz"


@dataclass(frozen=True, slots=True)
class FormCode:
    """The form of all invoices of a session, such as FA (3), 1-0E, FA."""

    system_code: str
    schema_version: str
    value: str


@dataclass(frozen=True, slots=True)
class PartSpec:
    """One part to upload: size and SHA-256 of its encrypted bytes."""

    ordinal_number: int
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """A package to announce. Size and hash of the package are those of the plain archive.

    Raises ValueError for a field that KSeF cannot accept: a wrong IV length has left sessions without an end.
    """

    form_code: FormCode
    package_size: int
    package_sha256: bytes
    compression_type: CompressionType
    parts: tuple[PartSpec, ...]
    encrypted_symmetric_key: bytes = field(repr=False)
    initialization_vector: bytes = field(repr=False)
    public_key_id: str | None
    offline_mode: bool = False
    feature: str | None = None
    """A value for `X-KSeF-Feature`, such as subject-identifier-validation on TEST."""

    def __post_init__(self) -> None:
        if len(self.initialization_vector) != IV_BYTES:
            raise ValueError("the initialization vector has 16 bytes")
        if [part.ordinal_number for part in self.parts] != list(range(1, len(self.parts) + 1)):
            raise ValueError("parts are numbered from 1 without gaps")
        if not 1 <= len(self.parts) <= MAX_PARTS:
            raise ValueError("a package has 1 to 50 parts")
        if any(len(digest) != SHA256_BYTES for digest in (self.package_sha256, *(p.sha256 for p in self.parts))):
            raise ValueError("a SHA-256 has 32 bytes")
        if self.package_size < 1 or any(part.size < 1 for part in self.parts):
            raise ValueError("package and parts are not empty")


@dataclass(frozen=True, slots=True)
class PartUpload:
    """The link, method and headers for the upload of one part. The URL is a credential: store it encrypted, never log it."""

    ordinal_number: int
    method: str
    url: SecretStr
    headers: Mapping[str, str]

    @property
    def expires_at(self) -> datetime | None:
        """The end of the link (its `se`), or None. KSeF promises 20 minutes times the number of parts."""
        values = parse_qs(urlsplit(self.url.get_secret_value()).query).get("se")
        if not values:
            return None
        try:
            return to_utc(datetime.fromisoformat(values[0]))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """An opened session and one upload for every declared part, in order of ordinal numbers."""

    reference_number: str
    part_uploads: tuple[PartUpload, ...]


def read_opened(answer: Answer, spec: BatchSpec) -> OpenedSession:
    """Read the answer to an opening. Raises Unreadable when a part of the package has no upload link."""
    opened = read_model(answer, OpenedBatchSession)
    uploads = {
        request.ordinal_number: PartUpload(
            request.ordinal_number,
            request.method.upper(),
            request.url,
            {name: value for name, value in request.headers.items() if value is not None},
        )
        for request in opened.part_upload_requests
    }
    missing = [part.ordinal_number for part in spec.parts if part.ordinal_number not in uploads]
    if missing:
        raise unreadable(answer, f"no upload link for parts {missing}")
    return OpenedSession(opened.reference_number, tuple(uploads[part.ordinal_number] for part in spec.parts))


def open_request(spec: BatchSpec) -> dict[str, Any]:
    """Build the JSON body that announces a package (OpenBatchSessionRequest)."""
    encryption = {
        "encryptedSymmetricKey": _base64(spec.encrypted_symmetric_key),
        "initializationVector": _base64(spec.initialization_vector),
    }
    if spec.public_key_id is not None:
        encryption["publicKeyId"] = spec.public_key_id
    return {
        "formCode": {
            "systemCode": spec.form_code.system_code,
            "schemaVersion": spec.form_code.schema_version,
            "value": spec.form_code.value,
        },
        "batchFile": {
            "fileSize": spec.package_size,
            "fileHash": _base64(spec.package_sha256),
            "compressionType": spec.compression_type.value,
            "fileParts": [
                {"ordinalNumber": part.ordinal_number, "fileSize": part.size, "fileHash": _base64(part.sha256)}
                for part in spec.parts
            ],
        },
        "encryption": encryption,
        "offlineMode": spec.offline_mode,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

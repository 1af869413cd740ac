"""Endpoints that open and close batch sessions. Source: KSeF API 2.9, /sessions/batch; ksef-docs, sesja-wsadowa.md."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.errors import ApiError, BadRequest, Forbidden, bad
from sandbox.guard import Body, Call, Endpoint, read_json
from sandbox.ids import new_reference
from sandbox.presigned_links import sign_link
from sandbox.processing.batch import PROCESSING, SESSION_TEXTS, process_session
from sandbox.processing.online import close_online
from sandbox.service import Sandbox
from sandbox.state.records.common import Status
from sandbox.state.records.sessions import Part, Session

MAX_PARTS = 50
MAX_PART_BYTES = 100_000_000
"""The largest encrypted part. The documents do not define whether KSeF measures before or after encryption; a sender that
respects the stricter limit is safe in both cases."""
UPLOAD_TIME_PER_PART = timedelta(minutes=20)
SESSION_LIFE = timedelta(hours=12)

OPENED = Status(100, "Sesja wsadowa rozpoczęta")
BAD_KEY = Status(415, SESSION_TEXTS[415])
_TOO_LATE = Status(440, "Sesja anulowana", ("Przekroczono czas wysyłki",))
SENDERS = frozenset({"InvoiceWrite", "EnforcementOperations"})

Hash = Annotated[str, Field(min_length=44, max_length=44)]
Process = Callable[[Sandbox, Session], Coroutine[None, None, None]]
"""Function that processes a closed package; it must handle its own failures."""


class FormCode(Body):
    """The form of a session's invoices."""

    system_code: str
    schema_version: str
    value: str

    @property
    def codes(self) -> tuple[str, str, str]:
        """The three codes, by which a form is found."""
        return self.system_code, self.schema_version, self.value


class _FilePart(Body):
    ordinal_number: int = Field(ge=1, le=2**31 - 1)
    file_size: int = Field(ge=1)
    file_hash: Hash


class _BatchFile(Body):
    file_size: int = Field(ge=1, le=5_000_000_000)
    file_hash: Hash
    compression_type: Literal["Zip", "TarGz"] | None = None
    file_parts: list[_FilePart] = Field(min_length=1)


class EncryptionInfo(Body):
    """The session's encrypted key and its initialization vector."""

    encrypted_symmetric_key: str
    initialization_vector: str
    public_key_id: Hash | None = None


class _OpenRequest(Body):
    form_code: FormCode
    batch_file: _BatchFile
    encryption: EncryptionInfo
    offline_mode: bool = False


async def open_session(call: Call) -> Response:
    """POST /sessions/batch."""
    sandbox = call.sandbox
    wanted = await read_json(call.request, _OpenRequest)
    encrypted_key, iv = _check(sandbox, wanted)
    key = await unwrap_key(sandbox, wanted.encryption, encrypted_key)
    now = sandbox.clock.now()
    file = wanted.batch_file
    session = Session(
        reference_number=new_reference("SB", now.date()),
        context=call.principal.login.context,
        subject=call.principal.login.subject,
        opened_by=call.principal.login,
        offline_mode=wanted.offline_mode,
        compression=file.compression_type or "Zip",
        file_size=file.file_size,
        file_hash=file.file_hash,
        parts={
            part.ordinal_number: Part(part.ordinal_number, part.file_size, part.file_hash) for part in file.file_parts
        },
        key=key,
        iv=iv,
        check_identifiers=checks_identifiers(call),
        form=sandbox.forms[wanted.form_code.codes],
        created=now,
        updated=now,
        valid_until=now + SESSION_LIFE,
        # An unreadable key is known at once, but KSeF reports it in the session's status, not in this answer.
        status=OPENED if key is not None else BAD_KEY,
        script=sandbox.faults.script_for(call.principal.login.context.nip),
    )
    script = session.script
    if script.at_open and script.status is not None:
        session.status = Status(script.status, SESSION_TEXTS[script.status], script.details)
    sandbox.state.sessions[session.reference_number] = session
    return JSONResponse(
        {
            "referenceNumber": session.reference_number,
            "partUploadRequests": [_upload(call, session, part) for part in reversed(session.parts.values())],
        },
        status_code=201,
    )


async def unwrap_key(sandbox: Sandbox, encryption: EncryptionInfo, encrypted_key: bytes) -> bytes | None:
    """Decrypt the session's AES key; None when it is unreadable. Raises BadRequest 21470 for an unknown key pair."""
    key_pair = sandbox.keys.find("SymmetricKeyEncryption", encryption.public_key_id)
    if key_pair is None:
        raise bad(21470, f"Klucz o identyfikatorze {encryption.public_key_id} nie jest wspierany.")
    try:
        key = await asyncio.to_thread(key_pair.decrypt, encrypted_key)
    except ValueError:
        return None
    return key if len(key) == 32 else None


def checks_identifiers(call: Call) -> bool:
    """Return whether the new session checks NIP checksums: always as in production, or on request."""
    feature = call.request.headers.get("x-ksef-feature", "").strip()
    return call.sandbox.options.enforce_identifiers or feature == "subject-identifier-validation"


def _upload(call: Call, session: Session, part: Part) -> dict[str, object]:
    """Build the upload link of a part. The list is in reverse order, so that no client relies on its order."""
    path = f"/storage/01/{session.reference_number.lower()}/batch-parts/{part.ordinal_number}"
    now = session.created
    expires = now + UPLOAD_TIME_PER_PART * len(session.parts)
    link = sign_link(path, "w", now, expires, call.sandbox.keys.link_secret)
    return {
        "ordinalNumber": part.ordinal_number,
        "method": "PUT",
        "url": f"{call.request.url.scheme}://{call.request.url.netloc}{link}",
        "headers": {"x-ms-blob-type": "BlockBlob"},
    }


def _check(sandbox: Sandbox, wanted: _OpenRequest) -> tuple[bytes, bytes]:
    """Return the encrypted key and the vector; raises an error with all faults of the request."""
    faults: list[str] = []
    errors: list[ApiError] = []
    encrypted_key, iv = read_encryption(sandbox, wanted.form_code, wanted.encryption, faults)
    file = wanted.batch_file
    faults.extend(
        f"'{name}' nie jest skrótem SHA-256 w Base64."
        for name, value in (
            ("batchFile.fileHash", file.file_hash),
            *((f"fileParts[{part.ordinal_number}].fileHash", part.file_hash) for part in file.file_parts),
        )
        if len(decode_base64(value) or b"") != 32
    )
    ordinals = sorted(part.ordinal_number for part in file.file_parts)
    if ordinals != list(range(1, len(ordinals) + 1)):
        faults.append("Numery części muszą być kolejnymi liczbami od 1.")
    if faults:
        errors.append(ApiError(21405, tuple(faults)))
    oversized = [part.ordinal_number for part in file.file_parts if part.file_size > MAX_PART_BYTES]
    if oversized:
        sentences = tuple(f"Rozmiar części {number} przekroczył dozwolony rozmiar 100MB." for number in oversized)
        errors.append(ApiError(21157, sentences))
    if len(file.file_parts) > MAX_PARTS:
        sentence = f"Liczba części {len(file.file_parts)} przekracza dozwoloną liczbę {MAX_PARTS}."
        errors.append(ApiError(21161, (sentence,)))
    if errors:
        raise BadRequest(*errors)
    return encrypted_key, iv


def read_encryption(
    sandbox: Sandbox, form: FormCode, encryption: EncryptionInfo, faults: list[str]
) -> tuple[bytes, bytes]:
    """Return the encrypted key and the vector of a new session; adds faults of them or of the form to `faults`."""
    if form.codes not in sandbox.forms:
        faults.append("Wskazany kod formularza nie jest wspierany.")
    encrypted_key = decode_base64(encryption.encrypted_symmetric_key)
    if not encrypted_key:
        faults.append("'encryption.encryptedSymmetricKey' nie jest w Base64.")
    iv = decode_base64(encryption.initialization_vector)
    if iv is None or len(iv) != 16:
        faults.append("'encryption.initializationVector' musi mieć 16 bajtów w Base64.")
    return encrypted_key or b"", iv or b""


def decode_base64(text: str) -> bytes | None:
    """Decode Base64; None when the text is not Base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


async def close_session(call: Call, process: Process = process_session) -> Response:
    """POST /sessions/batch/{referenceNumber}/close: start the processing, once, and answer 204."""
    sandbox = call.sandbox
    session = find_session(call, call.reference("reference"), kind="Batch")
    if session.closed is None and session.status.code == 440:
        raise bad(21208, "Sesja anulowana, przekroczony czas wysyłki.")
    if session.closed is not None and session.status.code == 100:
        # A script holds the session at 100: it was closed before, and must not be processed twice.
        session.released = session.released or session.script.release_on_close
        sandbox.clock.wake()
        return Response(status_code=204)
    if session.status.code != 100:
        raise bad(21180, f"Status sesji {session.status.code} uniemożliwia jej zamknięcie.")
    missing = [number for number, part in sorted(session.parts.items()) if part.path is None]
    if missing:
        raise bad(21205, *(f"Nie przesłano zadeklarowanej '{number}' części pliku." for number in missing))
    wrong = [n for n, part in sorted(session.parts.items()) if part.stored_size != part.declared_size]
    if wrong:
        raise bad(21157, *(f"Zadeklarowany rozmiar części '{n}' nie zgadza się z rzeczywistym." for n in wrong))
    session.closed = session.updated = sandbox.clock.now()
    if session.script.hold_at != 100:
        session.status = PROCESSING
    sandbox.in_background(lambda: process(sandbox, session))
    return Response(status_code=204)


def find_session(
    call: Call, reference: str, *, to_read: bool = False, kind: Literal["Batch", "Online"] | None = None
) -> Session:
    """Return a session that the caller may use.

    With Introspection these are all sessions of the context, otherwise only those of the same subject. Raises BadRequest
    21173 when there is none (of that kind), Forbidden when it belongs to another subject. An expired session that was not
    closed is cancelled by this call.
    """
    session = call.sandbox.state.sessions.get(reference)
    if session is None or (kind is not None and session.kind != kind):
        raise bad(21173, f"Sesja o numerze referencyjnym {reference} nie została znaleziona.")
    login = call.principal.login
    everything = call.principal.permissions & {"Introspection", "EnforcementOperations"}
    if session.context != login.context or not (session.subject == login.subject or (to_read and everything)):
        raise Forbidden("insufficient-resource-access", "Brak dostępu do wskazanego zasobu.")
    expire_session(call, session)
    return session


def expire_session(call: Call, session: Session) -> None:
    """Cancel an open batch session after its end of validity; close an online one."""
    if session.status.code != 100 or call.sandbox.clock.now() <= session.valid_until:
        return
    if session.kind == "Online":
        close_online(call.sandbox, session, session.valid_until)
    else:
        session.status = _TOO_LATE
        session.updated = session.valid_until


CLOSE = Endpoint("POST", "/sessions/batch/{reference}/close", close_session, "batchSessionClose", any_of=SENDERS)
ENDPOINTS = (
    Endpoint("POST", "/sessions/batch", open_session, "batchSession", any_of=SENDERS),
    CLOSE,
)

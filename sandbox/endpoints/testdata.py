"""Endpoints of `/testdata/*`: subjects, persons, permissions, attachments, blocked contexts, certificates.

Source: KSeF API 2.9, /testdata/*; ksef-docs, dane-testowe-scenariusze.md.
"""

import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from sandbox.auth.login_document import CONTEXT_PATTERNS
from sandbox.endpoints.certificates import find_own, serial_number
from sandbox.endpoints.ksef_tokens import Permission
from sandbox.errors import bad
from sandbox.guard import Body, Call, Endpoint, Moment, read_json, read_optional_json
from sandbox.ids import NIP
from sandbox.state.memory import OWNER_PERMISSIONS, SandboxState
from sandbox.state.records.common import Identifier
from sandbox.state.records.testdata import MadeSubject

_PESEL = r"[0-9]{2}(0[1-9]|1[0-2]|2[1-9]|3[0-2]|4[1-9]|5[0-2]|6[1-9]|7[0-2]|8[1-9]|9[0-2])[0-9]{7}"
_PATTERNS = {"Nip": NIP.pattern, "Pesel": _PESEL, "Fingerprint": "[0-9A-F]{64}"}
_ENFORCEMENT = frozenset({"EnforcementOperations"})

Nip = Annotated[str, Field(pattern=f"^{NIP.pattern}$")]
Pesel = Annotated[str, Field(pattern=f"^{_PESEL}$")]
Description = Annotated[str, Field(min_length=5, max_length=256)]


class _Subunit(Body):
    subject_nip: Nip
    description: Description


class _CreateSubject(Body):
    subject_nip: Nip
    subject_type: Literal["EnforcementAuthority", "VatGroup", "JST"]
    subunits: list[_Subunit] | None = None
    description: Description
    created_date: Moment | None = None


class _RemoveSubject(Body):
    subject_nip: Nip


class _CreatePerson(Body):
    nip: Nip
    pesel: Pesel
    is_bailiff: bool
    description: Description
    is_deceased: bool = False
    created_date: Moment | None = None


class _OfNip(Body):
    nip: Nip


class _Context(Body):
    type: Literal["Nip"]
    value: Nip


class _Authorized(Body):
    type: Literal["Nip", "Pesel", "Fingerprint"]
    value: str = Field(min_length=10, max_length=64)


class _Granted(Body):
    description: Description
    permission_type: Permission


class _Grant(Body):
    context_identifier: _Context
    authorized_identifier: _Authorized
    permissions: list[_Granted]


class _RevokeGrant(Body):
    context_identifier: _Context
    authorized_identifier: _Authorized


class _RevokeAttachment(Body):
    nip: Nip
    expected_end_date: date | None = None


class _AnyContext(Body):
    type: Literal["Nip", "InternalId", "NipVatUe", "PeppolId"]
    value: str


class _Block(Body):
    context_identifier: _AnyContext | None = None


class _UpdateCertificate(Body):
    valid_to: Moment


def _done() -> Response:
    return Response(status_code=200)


# Subjects and persons


async def create_subject(call: Call) -> Response:
    """POST /testdata/subject. An enforcement authority gets the enforcement permission in its context; groups get none."""
    wanted = await read_json(call.request, _CreateSubject)
    state, nip = call.sandbox.state, wanted.subject_nip
    created = _new(state, nip, wanted.created_date, call, exists=nip in state.subjects)
    units = tuple(unit.subject_nip for unit in wanted.subunits or ())
    if wanted.subject_type == "EnforcementAuthority":
        if units:
            raise bad(21405, "'subunits' mogą mieć tylko grupa VAT i JST.")
        _give(state, Identifier("Nip", nip), nip, _ENFORCEMENT)
    state.subjects[nip] = MadeSubject(created, (nip, *units))
    return _done()


async def remove_subject(call: Call) -> Response:
    """POST /testdata/subject/remove: remove the subject and its subunits."""
    wanted = await read_json(call.request, _RemoveSubject)
    state = call.sandbox.state
    subject = state.subjects.pop(wanted.subject_nip, None)
    if subject is None:
        raise bad(21405, f"Podmiot {wanted.subject_nip} nie istnieje.")
    state.removed[wanted.subject_nip] = subject.created
    for nip in subject.nips:
        state.subjects.pop(nip, None)
    _take(state, Identifier("Nip", wanted.subject_nip), wanted.subject_nip)
    return _done()


async def create_person(call: Call) -> Response:
    """POST /testdata/person: create an owner of its NIP's context by NIP and PESEL; a bailiff may also enforce there."""
    wanted = await read_json(call.request, _CreatePerson)
    state, nip = call.sandbox.state, wanted.nip
    created = _new(state, nip, wanted.created_date, call, exists=nip in state.persons)
    identities = Identifier("Nip", nip), Identifier("Pesel", wanted.pesel)
    for identity in identities:
        _give(state, identity, nip, OWNER_PERMISSIONS | (_ENFORCEMENT if wanted.is_bailiff else frozenset()))
    if wanted.is_deceased:
        state.deceased.update(identities)
    state.persons[nip] = MadeSubject(created, (nip,), wanted.pesel)
    return _done()


async def remove_person(call: Call) -> Response:
    """POST /testdata/person/remove: remove the person and all its permissions."""
    wanted = await read_json(call.request, _OfNip)
    state = call.sandbox.state
    person = state.persons.pop(wanted.nip, None)
    if person is None:
        raise bad(21405, f"Osoba o numerze NIP {wanted.nip} nie istnieje.")
    state.removed[wanted.nip] = person.created
    identities = {Identifier("Nip", wanted.nip), Identifier("Pesel", person.pesel or "")}
    state.deceased -= identities
    for subject, context in list(state.grants):
        if subject in identities:
            del state.grants[subject, context]
    return _done()


def _new(state: SandboxState, nip: str, wanted: datetime | None, call: Call, *, exists: bool) -> datetime:
    """Return a new object's creation time; raises 30001 if it exists, 21405 if it is not later than its predecessor's."""
    if exists:
        raise bad(30001)
    before = state.removed.get(nip)
    if before is not None and wanted is not None and wanted <= before:
        raise bad(21405, "'createdDate' musi być późniejsza niż przy poprzednim utworzeniu.")
    return wanted or call.sandbox.clock.now()


# Permissions


def _give(state: SandboxState, subject: Identifier, nip: str, permissions: frozenset[str]) -> None:
    place = subject, Identifier("Nip", nip)
    state.grants[place] = state.grants.get(place, frozenset()) | permissions


def _take(state: SandboxState, subject: Identifier, nip: str) -> None:
    state.grants.pop((subject, Identifier("Nip", nip)), None)


def _authorized(wanted: _Authorized) -> Identifier:
    if re.fullmatch(_PATTERNS[wanted.type], wanted.value) is None:
        raise bad(21405, "'authorizedIdentifier.value' ma nieprawidłowy format.")
    return Identifier(wanted.type, wanted.value)


async def grant(call: Call) -> Response:
    """POST /testdata/permissions: add permissions to the granted ones."""
    wanted = await read_json(call.request, _Grant)
    permissions = frozenset(item.permission_type for item in wanted.permissions)
    subject = _authorized(wanted.authorized_identifier)
    _give(call.sandbox.state, subject, wanted.context_identifier.value, permissions)
    return _done()


async def revoke_grant(call: Call) -> Response:
    """POST /testdata/permissions/revoke: revoke all permissions granted to the subject in the context."""
    wanted = await read_json(call.request, _RevokeGrant)
    _take(call.sandbox.state, _authorized(wanted.authorized_identifier), wanted.context_identifier.value)
    return _done()


# Attachments


async def allow_attachments(call: Call) -> Response:
    """POST /testdata/attachment."""
    nip = (await read_json(call.request, _OfNip)).nip
    call.sandbox.state.attachments.add(nip)
    call.sandbox.state.attachment_ends.pop(nip, None)
    return _done()


async def refuse_attachments(call: Call) -> Response:
    """POST /testdata/attachment/revoke: revoke the consent at once, or from the given Polish day on."""
    wanted = await read_json(call.request, _RevokeAttachment)
    state = call.sandbox.state
    if wanted.expected_end_date is None:
        state.attachments.discard(wanted.nip)
        state.attachment_ends.pop(wanted.nip, None)
    else:
        state.attachment_ends[wanted.nip] = wanted.expected_end_date
    return _done()


# Contexts and certificates


async def _named_context(call: Call) -> Identifier:
    context = (await read_optional_json(call.request, _Block)).context_identifier
    if context is None:
        raise bad(21405, "'contextIdentifier' jest wymagany.")
    if CONTEXT_PATTERNS[context.type].fullmatch(context.value) is None:
        raise bad(21405, "'contextIdentifier.value' ma nieprawidłowy format.")
    return Identifier(context.type, context.value)


async def block(call: Call) -> Response:
    """POST /testdata/context/block: let every later login in the context end with status 480."""
    call.sandbox.state.blocked_contexts.add(await _named_context(call))
    return _done()


async def unblock(call: Call) -> Response:
    """POST /testdata/context/unblock."""
    call.sandbox.state.blocked_contexts.discard(await _named_context(call))
    return _done()


async def update_certificate(call: Call) -> Response:
    """PUT /testdata/certificates/{serialNumber}: shorten the validity of one of the caller's own certificates."""
    number = serial_number(call, "serial")
    wanted = await read_json(call.request, _UpdateCertificate)
    certificate = find_own(call, number)
    if wanted.valid_to > certificate.valid_to:
        raise bad(21405, "'validTo' nie może być późniejsza niż obecna.")
    certificate.valid_to = wanted.valid_to
    return _done()


ENDPOINTS = (
    Endpoint("POST", "/testdata/subject", create_subject, "anonymous", ()),
    Endpoint("POST", "/testdata/subject/remove", remove_subject, "anonymous", ()),
    Endpoint("POST", "/testdata/person", create_person, "anonymous", ()),
    Endpoint("POST", "/testdata/person/remove", remove_person, "anonymous", ()),
    Endpoint("POST", "/testdata/permissions", grant, "anonymous", ()),
    Endpoint("POST", "/testdata/permissions/revoke", revoke_grant, "anonymous", ()),
    Endpoint("POST", "/testdata/attachment", allow_attachments, "anonymous", ()),
    Endpoint("POST", "/testdata/attachment/revoke", refuse_attachments, "anonymous", ()),
    Endpoint("POST", "/testdata/context/block", block, "other", ()),
    Endpoint("POST", "/testdata/context/unblock", unblock, "other", ()),
    Endpoint("PUT", "/testdata/certificates/{serial}", update_certificate, "other"),
)

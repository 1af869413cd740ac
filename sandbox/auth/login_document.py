"""Reader of an AuthTokenRequest and of a certificate's subject.

The order and the patterns are those of the published schemas `schemat_auth_v2-0.xsd` and `schemat_auth_v2-1.xsd`
(ksef-docs, auth/schemy), written out by hand. Certificates: ksef-docs, auth/podpis-xades.md.
"""

import ipaddress
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID, ObjectIdentifier
from lxml import etree

from sandbox.errors import bad
from sandbox.state.records.common import Identifier

NAMESPACES = ("http://ksef.mf.gov.pl/auth/token/2.0", "http://ksef.mf.gov.pl/auth/token/2.1")
_CHALLENGE = re.compile(r"[0-9]{8}-CR-[A-F0-9]{10}-[A-F0-9]{10}-[A-F0-9]{2}")
_NIP = r"[1-9](?:[0-9][1-9]|[1-9][0-9])[0-9]{7}"
CONTEXT_PATTERNS = {
    "Nip": re.compile(_NIP),
    "InternalId": re.compile(_NIP + r"-[0-9]{5}"),
    "NipVatUe": re.compile(_NIP + r"-[A-Z]{2}[A-Z0-9+*]{2,13}"),
    "PeppolId": re.compile(r"P[A-Z]{2}[0-9]{6}"),
}
_MAX_ADDRESSES = 10
_ORGANIZATION_IDENTIFIER = ObjectIdentifier("2.5.4.97")
_VATPL = re.compile(r"VATPL-([0-9]{10})")
_TINPL = re.compile(r"(?:TINPL|NIP).*?([0-9]{10})")
_PNOPL = re.compile(r"(?:PNOPL|PESEL).*?([0-9]{11})")


@dataclass(frozen=True, slots=True)
class AuthTokenRequest:
    """A login request that conforms to its schema."""

    challenge: str
    context: Identifier
    subject_type: str
    allowed_ips: tuple[str, ...]


def read_auth_request(root: etree._Element) -> AuthTokenRequest:
    """Read the request from a verified XML; raises BadRequest 21401 for a breach of the schema."""
    name = etree.QName(root)
    if name.localname != "AuthTokenRequest" or name.namespace not in NAMESPACES:
        raise _schema(f"Nieoczekiwany element główny {name.text}.")
    children = _elements(root)
    names = [_local(child, name.namespace) for child in children]
    expected = ["Challenge", "ContextIdentifier", "SubjectIdentifierType"]
    if names not in (expected, [*expected, "AuthorizationPolicy"]):
        raise _schema(f"Nieprawidłowa kolejność lub zestaw elementów: {', '.join(names)}.")
    challenge = _token(children[0])
    if _CHALLENGE.fullmatch(challenge) is None:
        raise _schema("Element Challenge ma nieprawidłowy format.")
    subject_type = _token(children[2])
    if subject_type not in {"certificateSubject", "certificateFingerprint"}:
        raise _schema("Element SubjectIdentifierType ma niedozwoloną wartość.")
    policy = _policy(children[3], name.namespace) if len(children) > 3 else ()
    return AuthTokenRequest(challenge, _context(children[1], name.namespace), subject_type, policy)


def certificate_subject(certificate: x509.Certificate) -> tuple[Identifier, str]:
    """Return a certificate's owner and the login method; raises BadRequest 21115 for a subject without an owner.

    A seal names an organisation by `organizationIdentifier` VATPL-...; a personal one a person by `serialNumber`
    TINPL-... or PNOPL-..., and has a given name and a surname.
    """
    subject = certificate.subject
    personal = bool(subject.get_attributes_for_oid(NameOID.GIVEN_NAME)) or bool(
        subject.get_attributes_for_oid(NameOID.SURNAME)
    )
    for oid, label in ((NameOID.COMMON_NAME, "CN"), (NameOID.COUNTRY_NAME, "C")):
        if not subject.get_attributes_for_oid(oid):
            raise bad(21115, f"Brak atrybutu {label} w podmiocie certyfikatu.")
    if not personal:
        organization = _attribute(subject, NameOID.ORGANIZATION_NAME)
        found = _VATPL.fullmatch(_attribute(subject, _ORGANIZATION_IDENTIFIER))
        if not organization or found is None:
            raise bad(21115, "Pieczęć wymaga atrybutów O i organizationIdentifier w postaci VATPL-NIP.")
        return Identifier("Nip", found[1]), "QualifiedSeal"
    if _attribute(subject, _ORGANIZATION_IDENTIFIER):
        raise bad(21115, "Pieczęć nie może zawierać imienia i nazwiska.")
    if not (_attribute(subject, NameOID.GIVEN_NAME) and _attribute(subject, NameOID.SURNAME)):
        raise bad(21115, "Certyfikat osoby wymaga imienia i nazwiska.")
    serial = _attribute(subject, NameOID.SERIAL_NUMBER)
    if found := _TINPL.search(serial):
        return Identifier("Nip", found[1]), "QualifiedSignature"
    if found := _PNOPL.search(serial):
        return Identifier("Pesel", found[1]), "QualifiedSignature"
    raise bad(21115, "Atrybut serialNumber nie zawiera TINPL ani PNOPL.")


def is_seal(certificate: x509.Certificate) -> bool:
    """Return whether the certificate's subject is a Polish organisation, by its VATPL identifier."""
    return _VATPL.fullmatch(_attribute(certificate.subject, _ORGANIZATION_IDENTIFIER)) is not None


def certificate_fingerprint(certificate: x509.Certificate) -> Identifier:
    """Return the certificate's fingerprint as the identifier of a subject."""
    return Identifier("Fingerprint", certificate.fingerprint(hashes.SHA256()).hex().upper())


def address_is_allowed(address: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a policy of addresses, ranges (a-b) and masks covers an address; an empty policy allows all."""
    if not allowed:
        return True
    try:
        client = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    for item in allowed:
        first, _, last = item.partition("-")
        if last:
            if ipaddress.IPv4Address(first) <= client <= ipaddress.IPv4Address(last):
                return True
        elif client in ipaddress.IPv4Network(item, strict=False):
            return True
    return False


def check_address(kind: str, text: str) -> None:
    """Raise ValueError unless the text is an address, a range or a mask, according to `kind`."""
    if kind == "Ip4Range":
        first, hyphen, last = text.partition("-")
        if not hyphen:
            raise ValueError(text)
        ipaddress.IPv4Address(first)
        ipaddress.IPv4Address(last)
    elif kind == "Ip4Mask":
        address, slash, bits = text.partition("/")
        if not slash or not bits.isascii() or not bits.isdigit() or int(bits) > 32 or str(int(bits)) != bits:
            raise ValueError(text)
        ipaddress.IPv4Address(address)
    else:
        ipaddress.IPv4Address(text)


def _context(element: etree._Element, namespace: str | None) -> Identifier:
    children = _elements(element)
    if len(children) != 1:
        raise _schema("ContextIdentifier musi zawierać dokładnie jeden identyfikator.")
    kind = _local(children[0], namespace)
    if kind not in CONTEXT_PATTERNS:
        raise _schema(f"Nieznany identyfikator kontekstu {kind}.")
    # The types are restrictions of xsd:string, so white space around a value is part of the value.
    value = children[0].text or ""
    if CONTEXT_PATTERNS[kind].fullmatch(value) is None:
        raise _schema(f"Element {kind} ma nieprawidłowy format.")
    return Identifier(kind, value)


def _policy(element: etree._Element, namespace: str | None) -> tuple[str, ...]:
    children = _elements(element)
    if len(children) != 1 or _local(children[0], namespace) != "AllowedIps":
        raise _schema("AuthorizationPolicy musi zawierać element AllowedIps.")
    order = ("Ip4Address", "Ip4Range", "Ip4Mask")
    found: list[tuple[int, str]] = []
    for child in _elements(children[0]):
        kind = _local(child, namespace)
        if kind not in order:
            raise _schema(f"Nieznany element {kind} w AllowedIps.")
        try:
            check_address(kind, _token(child))
        except ValueError as error:
            raise _schema(f"Element {kind} ma nieprawidłowy format.") from error
        found.append((order.index(kind), _token(child)))
    ranks = [rank for rank, _ in found]
    if ranks != sorted(ranks) or any(ranks.count(rank) > _MAX_ADDRESSES for rank in range(3)):
        raise _schema("Elementy AllowedIps są w niewłaściwej kolejności lub jest ich za dużo.")
    return tuple(text for _, text in found)


def _elements(parent: etree._Element) -> list[etree._Element]:
    """Return child elements. Text between them is a breach of the schema; comments are allowed."""
    children = [child for child in parent if isinstance(child.tag, str)]
    if (parent.text or "").strip() or any((child.tail or "").strip() for child in parent):
        raise _schema(f"Element {etree.QName(parent).localname} zawiera tekst.")
    return children


def _local(element: etree._Element, namespace: str | None) -> str:
    name = etree.QName(element)
    if name.namespace != namespace:
        raise _schema(f"Element {name.localname} ma niewłaściwą przestrzeń nazw.")
    return name.localname


def _token(element: etree._Element) -> str:
    return " ".join((element.text or "").split())


def _attribute(name: x509.Name, oid: ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _schema(detail: str) -> Exception:
    return bad(21401, detail)

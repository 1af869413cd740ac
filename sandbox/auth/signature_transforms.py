"""Transforms of a signature's reference, applied one after the other to get the bytes to digest.

The transforms of ksef-docs, auth/podpis-xades.md are allowed. XPath and filter2 can select any part of an XML; here they may
only leave out the signature itself, which is their use in such signatures, so that every other part is signed.
"""

import copy
from typing import Any

from lxml import etree

from sandbox.auth.signature_algorithms import (
    DS,
    INCLUSIVE,
    base64_content,
    canonical,
    is_canonicalisation,
    signature_fault,
)
from sandbox.errors import bad

_ENVELOPED = f"{DS}enveloped-signature"
_BASE64 = f"{DS}base64"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_FILTER2 = "http://www.w3.org/2002/06/xmldsig-filter2"
_MAX_EXPRESSION = 200


def referenced(
    reference: etree._Element, target: etree._Element, root: etree._Element, signature: etree._Element
) -> tuple[bytes, etree._Element]:
    """Return the bytes to digest for a reference to `target`, and the element that they represent."""
    subject = target
    decoded: bytes | None = None
    method = etree.Element("method", Algorithm=INCLUSIVE)
    named = False
    for transform in reference.findall("{*}Transforms/{*}Transform"):
        algorithm = transform.get("Algorithm", "")
        if is_canonicalisation(algorithm):
            method, named = transform, True
        elif algorithm == _BASE64 and decoded is None and target.tag == f"{{{DS}}}Object":
            decoded = base64_content(subject)
            subject = _parsed(decoded)
        elif algorithm in {_ENVELOPED, _XPATH, _FILTER2}:
            if target is not root or signature is root:
                raise signature_fault(f"Transformacja {algorithm} poza podpisem otoczonym.")
            _check_expression(algorithm, transform, root, signature)
            subject = without_signature(root)
        else:
            raise signature_fault(f"Transformacja {algorithm} nie jest obsługiwana.")
    if target is root and subject is root:
        raise signature_fault("Odwołanie do dokumentu obejmuje sam podpis.")
    if decoded is not None and not named:
        return decoded, subject
    return canonical(subject, method), subject


def _check_expression(
    algorithm: str, transform: etree._Element, root: etree._Element, signature: etree._Element
) -> None:
    """Raise an error unless the transform's expression leaves out exactly the signature."""
    if algorithm == _ENVELOPED:
        return
    namespace = DS if algorithm == _XPATH else _FILTER2
    expressions = transform.findall(f"{{{namespace}}}XPath")
    if len(expressions) != 1 or len(transform) != 1:
        raise signature_fault("Transformacja musi mieć dokładnie jeden element XPath.")
    expression = "".join((expressions[0].text or "").split())
    prefixes = {prefix: address for prefix, address in expressions[0].nsmap.items() if prefix is not None}
    if algorithm == _XPATH:
        allowed = {f"not(ancestor-or-self::{prefix}:Signature)" for prefix in prefixes if prefixes[prefix] == DS}
        if expression not in allowed:
            raise signature_fault("Dozwolone wyrażenie XPath to not(ancestor-or-self::ds:Signature).")
    elif expressions[0].get("Filter") != "subtract" or not _selects(expression, prefixes, root, signature):
        raise signature_fault("Filtr musi odejmować (subtract) sam podpis.")


def _selects(expression: str, prefixes: dict[str, str], root: etree._Element, signature: etree._Element) -> bool:
    if len(expression) > _MAX_EXPRESSION:
        return False
    try:
        found = root.getroottree().xpath(expression, namespaces=prefixes)
    except etree.XPathError:
        return False
    return isinstance(found, list) and len(found) == 1 and found[0] is signature


def _parsed(content: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise bad(9101, "Zakodowana treść nie jest dokumentem XML.") from error
    docinfo: Any = root.getroottree().docinfo  # lxml's stubs lack a part of it
    if docinfo.doctype:
        raise bad(9101, "Deklaracja DOCTYPE jest niedozwolona.")
    return root


def without_signature(root: etree._Element) -> etree._Element:
    """Copy the document without its signature; text after the signature is kept."""
    plain = copy.deepcopy(root)
    signature = plain.find(f"{{{DS}}}Signature")
    if signature is None:
        raise bad(9102)
    tail, before = signature.tail or "", signature.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        plain.text = (plain.text or "") + tail
    plain.remove(signature)
    return plain

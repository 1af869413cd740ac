"""Algorithms of a signed login: digests, canonicalisations, signature methods.

Source: ksef-docs, auth/podpis-xades.md. Its lists also contain SHA-1, but production refuses it (ksef-client-csharp,
issue 215), and so does the sandbox.
"""

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

from sandbox.errors import BadRequest, bad

DS = "http://www.w3.org/2000/09/xmldsig#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_MORE_2007 = "http://www.w3.org/2007/05/xmldsig-more#"
_MORE_2021 = "http://www.w3.org/2021/04/xmldsig-more#"

_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "http://www.w3.org/2001/04/xmlenc#sha256": hashes.SHA256(),
    f"{_MORE}sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmlenc#sha512": hashes.SHA512(),
    f"{_MORE_2007}sha3-256": hashes.SHA3_256(),
    f"{_MORE_2007}sha3-384": hashes.SHA3_384(),
    f"{_MORE_2007}sha3-512": hashes.SHA3_512(),
}
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
"""The canonicalisation of a reference that names none (XML Signature 1.1, section 4.4.3.2)."""
_CANONICAL: dict[str, tuple[bool, bool]] = {
    INCLUSIVE: (False, False),
    f"{INCLUSIVE}#WithComments": (False, True),
    "http://www.w3.org/2006/12/xml-c14n11": (False, False),
    "http://www.w3.org/2006/12/xml-c14n11#WithComments": (False, True),
    "http://www.w3.org/2001/10/xml-exc-c14n#": (True, False),
    "http://www.w3.org/2001/10/xml-exc-c14n#WithComments": (True, True),
}
"""Algorithm -> (exclusive, with comments)."""
_RSA: dict[str, hashes.HashAlgorithm] = {
    f"{_MORE}rsa-sha256": hashes.SHA256(),
    f"{_MORE}rsa-sha384": hashes.SHA384(),
    f"{_MORE}rsa-sha512": hashes.SHA512(),
}
_PSS: dict[str, hashes.HashAlgorithm] = {
    f"{_MORE_2007}sha256-rsa-MGF1": hashes.SHA256(),
    f"{_MORE_2007}sha384-rsa-MGF1": hashes.SHA384(),
    f"{_MORE_2007}sha512-rsa-MGF1": hashes.SHA512(),
    f"{_MORE_2007}sha3-256-rsa-MGF1": hashes.SHA3_256(),
    f"{_MORE_2007}sha3-384-rsa-MGF1": hashes.SHA3_384(),
    f"{_MORE_2007}sha3-512-rsa-MGF1": hashes.SHA3_512(),
}
_ECDSA: dict[str, hashes.HashAlgorithm] = {
    f"{_MORE}ecdsa-sha256": hashes.SHA256(),
    f"{_MORE}ecdsa-sha384": hashes.SHA384(),
    f"{_MORE}ecdsa-sha512": hashes.SHA512(),
    f"{_MORE_2021}ecdsa-sha3-256": hashes.SHA3_256(),
    f"{_MORE_2021}ecdsa-sha3-384": hashes.SHA3_384(),
    f"{_MORE_2021}ecdsa-sha3-512": hashes.SHA3_512(),
}


def signature_fault(detail: str) -> BadRequest:
    """Create the error 9105 for a fault of the signature."""
    return bad(9105, detail)


def one_child(element: etree._Element, path: str, namespaces: dict[str, str]) -> etree._Element:
    """Return the only element at a path; no element or several are a fault."""
    found = element.findall(path, namespaces)
    if len(found) != 1:
        raise signature_fault(f"Oczekiwano dokładnie jednego elementu {path}, znaleziono: {len(found)}.")
    return found[0]


def base64_content(element: etree._Element) -> bytes:
    """Decode the Base64 text of an element that has only text."""
    fault = signature_fault(f"Element {etree.QName(element).localname} nie jest w Base64.")
    if len(element):
        raise fault
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise fault from error


def digest_of(data: bytes, algorithm: str) -> bytes:
    """Compute the digest with the algorithm of a URI."""
    if algorithm not in _DIGESTS:
        raise signature_fault(f"Algorytm skrótu {algorithm} nie jest obsługiwany.")
    digest = hashes.Hash(_DIGESTS[algorithm])
    digest.update(data)
    return digest.finalize()


def is_canonicalisation(algorithm: str) -> bool:
    """Return whether an algorithm is one of the three canonicalisations, with or without comments."""
    return algorithm in _CANONICAL


def canonical(element: etree._Element, method: etree._Element) -> bytes:
    """Return an element in the canonical form that `method` (a Transform or a CanonicalizationMethod) names."""
    algorithm = method.get("Algorithm", "")
    if algorithm not in _CANONICAL:
        raise signature_fault(f"Kanonikalizacja {algorithm} nie jest obsługiwana.")
    exclusive, comments = _CANONICAL[algorithm]
    prefixes = None
    inclusive = method.find("{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces")
    if inclusive is not None:
        prefixes = (inclusive.get("PrefixList") or "").split()
    return etree.tostring(
        element,
        method="c14n",
        exclusive=exclusive,
        with_comments=comments,
        inclusive_ns_prefixes=prefixes,
        with_tail=False,
    )


def verify_value(data: bytes, value: bytes, method: str, certificate: x509.Certificate) -> None:
    """Raise an error unless `value` is a signature of the data by this method with the certificate's key."""
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and (method in _RSA or method in _PSS):
            if key.key_size < 2048:
                raise bad(21115, "Klucz RSA ma mniej niż 2048 bitów.")
            if method in _RSA:
                key.verify(value, data, padding.PKCS1v15(), _RSA[method])
            else:
                scheme = padding.PSS(padding.MGF1(_PSS[method]), _PSS[method].digest_size)
                key.verify(value, data, scheme, _PSS[method])
        elif isinstance(key, ec.EllipticCurvePublicKey) and method in _ECDSA:
            if key.key_size < 256:
                raise bad(21115, "Krzywa eliptyczna ma mniej niż 256 bitów.")
            width = (key.key_size + 7) // 8
            if len(value) != 2 * width:
                raise signature_fault("Wartość podpisu ECDSA nie ma postaci R||S o stałej długości.")
            numbers = int.from_bytes(value[:width]), int.from_bytes(value[width:])
            key.verify(encode_dss_signature(*numbers), data, ec.ECDSA(_ECDSA[method]))
        else:
            raise signature_fault(f"Algorytm podpisu {method} nie jest obsługiwany dla tego klucza.")
    except InvalidSignature as error:
        raise signature_fault("Wartość podpisu jest nieprawidłowa.") from error

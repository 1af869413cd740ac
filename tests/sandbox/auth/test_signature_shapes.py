"""Algorithms and transforms of a signed login: those that ksef-docs list, and near misses."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ObjectIdentifier

from tests.support.ksef_by_hand import (
    SEAL,
    HandClient,
    PrivateKey,
    SignatureShape,
    auth_request,
    make_certificate,
    sign,
)
from tests.support.ksef_online_by_hand import refusal

DS = "http://www.w3.org/2000/09/xmldsig#"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
EVERY_DIGEST = [hashes.SHA384(), hashes.SHA512(), hashes.SHA3_256(), hashes.SHA3_384(), hashes.SHA3_512()]


def xpath(expression: str) -> str:
    return (
        '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
        f"<ds:XPath>{expression}</ds:XPath></ds:Transform>"
    )


def filter2(expression: str, kind: str = "subtract") -> str:
    address = "http://www.w3.org/2002/06/xmldsig-filter2"
    return (
        f'<ds:Transform Algorithm="{address}"><f:XPath xmlns:f="{address}" Filter="{kind}">{expression}</f:XPath>'
        "</ds:Transform>"
    )


def body(client: HandClient, shape: SignatureShape, key: PrivateKey = EC) -> bytes:
    certificate, _ = make_certificate({**SEAL, ObjectIdentifier("2.5.4.97"): f"VATPL-{client.nip}"}, key)
    return sign(auth_request(client.challenge()["challenge"], client.nip), certificate, key, shape)


@pytest.mark.parametrize("digest", EVERY_DIGEST, ids=lambda digest: digest.name)
@pytest.mark.parametrize(("key", "pss"), [(EC, False), (RSA, True)], ids=["ECDSA", "RSA-PSS"])
def test_every_listed_digest_logs_in(
    stranger: HandClient, digest: hashes.HashAlgorithm, key: PrivateKey, pss: bool
) -> None:
    shape = SignatureShape(digest=digest, value_digest=digest, pss=pss)
    stranger.finish_login(stranger.post_signed(body(stranger, shape, key)))


def test_a_salt_of_another_length_than_the_digest_is_9105(stranger: HandClient) -> None:
    good = body(stranger, SignatureShape(pss=True), RSA)
    claimed = good.replace(b"sha256-rsa-MGF1", b"sha384-rsa-MGF1")
    assert refusal(stranger.post_signed(claimed)) == 9105


@pytest.mark.parametrize(
    "shape",
    [
        SignatureShape(digest=hashes.SHA1()),
        SignatureShape(value_digest=hashes.SHA1()),
        SignatureShape(value_digest=hashes.SHA224()),
    ],
    ids=["digest", "signature", "not listed"],
)
def test_sha_1_is_refused_as_production_does(stranger: HandClient, shape: SignatureShape) -> None:
    assert refusal(stranger.post_signed(body(stranger, shape))) == 9105


@pytest.mark.parametrize(
    "transform",
    [
        xpath("not(ancestor-or-self::ds:Signature)"),
        xpath(" not( ancestor-or-self::ds:Signature ) "),
        filter2("/descendant::ds:Signature"),
        filter2("//ds:Signature"),
        filter2("/*/ds:Signature[last()]"),
    ],
)
def test_the_signature_is_left_out_in_every_listed_way(stranger: HandClient, transform: str) -> None:
    stranger.finish_login(stranger.post_signed(body(stranger, SignatureShape(leave_out=transform))))


@pytest.mark.parametrize(
    "transform",
    [
        xpath("not(ancestor-or-self::ds:Object)"),
        xpath("true()"),
        filter2("/descendant::*"),
        filter2("/*/ds:Signature/ds:Object"),
        filter2("//ds:Signature", kind="intersect"),
        filter2("here()/ancestor::ds:Signature"),
        filter2("//ds:Signature[" + "1=1 and " * 40 + "1=1]"),
        filter2("("),
        "<ds:Transform Algorithm='http://www.w3.org/TR/1999/REC-xslt-19991116'/>",
        "<ds:Transform Algorithm='http://www.w3.org/TR/1999/REC-xpath-19991116'/>",
    ],
)
def test_a_transform_that_leaves_out_anything_else_is_9105(stranger: HandClient, transform: str) -> None:
    assert refusal(stranger.post_signed(body(stranger, SignatureShape(leave_out=transform)))) == 9105


def test_a_document_in_base64_logs_in_and_cannot_be_exchanged(stranger: HandClient) -> None:
    shape = SignatureShape(enveloping=True, base64_object=True)
    good = body(stranger, shape)
    assert stranger.login_status(stranger.post_signed(good))["code"] == 200
    start = good.index(b'Id="content">') + len(b'Id="content">')
    other = body(stranger, shape)
    stolen = good[:start] + other[start:]
    assert refusal(stranger.post_signed(stolen[: len(stolen) - 5])) == 21001
    middle = good[start : good.index(b"</ds:Object>", start)]
    exchanged = good.replace(middle, other[start : other.index(b"</ds:Object>", start)])
    assert refusal(stranger.post_signed(exchanged)) == 9105


def test_base64_does_not_stand_for_the_signed_properties(stranger: HandClient) -> None:
    """Their text alone would be covered, not what it means."""
    good = body(stranger, SignatureShape())
    index = good.index(b'URI="#props"')
    spoilt = good[:index] + good[index:].replace(b"http://www.w3.org/2001/10/xml-exc-c14n#", f"{DS}base64".encode(), 1)
    assert refusal(stranger.post_signed(spoilt)) == 9105

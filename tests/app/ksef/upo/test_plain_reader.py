"""Receipts of the plain form: whatever is taken apart reads as the careful reader reads it, and is signed as signxml says of the whole."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from app.ksef.errors import Unreadable
from app.ksef.login.certificates import self_signed_seal
from app.ksef.upo.plain_reader import PlainUpo, take_apart
from app.ksef.upo.reader import UpoDocument, parse_upo
from app.ksef.upo.signature import SignatureState, check_signature
from tests.app.ksef.upo.test_reader import EXAMPLES, HEAD, NAMESPACE, document, receipt

NO_RECEIPT = b"not asked for"
FORMS = [
    CanonicalizationMethod.CANONICAL_XML_1_0,
    CanonicalizationMethod.CANONICAL_XML_1_1,
    CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0_WITH_COMMENTS,
]


def three() -> str:
    return "".join(document(number) for number in range(1, 4))


def plain_of(raw: bytes) -> PlainUpo:
    found = take_apart(raw)
    assert found is not None
    return found


def columns(plain: PlainUpo) -> list[tuple[bytes, str, datetime, str]]:
    hashes = [base64.b64decode(text) for text in plain.hashes]
    moments = [datetime.fromisoformat(text).astimezone(UTC) for text in plain.acquired]
    return list(zip(hashes, plain.ksef_numbers, moments, plain.modes, strict=True))


def carefully(raw: bytes) -> tuple[str, list[tuple[bytes, str, datetime | None, str | None]]]:
    upo = parse_upo(raw)
    return upo.session_reference_number, [_columns_of(one) for one in upo.documents]


def _columns_of(one: UpoDocument) -> tuple[bytes, str, datetime | None, str | None]:
    return one.invoice_hash, one.ksef_number, one.acquired_at, one.mode


def canonical(raw: bytes, *, exclusive: bool) -> bytes | None:
    """The canonical form as signxml takes it: of the root alone, which libxml2 gets wrong beside a processing instruction."""
    root = etree.fromstring(etree.tostring(etree.fromstring(raw)))
    try:
        return etree.tostring(root, method="c14n", exclusive=exclusive)
    except etree.C14NError:
        # A namespace that is no URI.
        return None


def agree(raw: bytes) -> bool:
    """Whether it was taken apart; what it then says must be what the careful reader says."""
    plain = take_apart(raw)
    if plain is None:
        return False
    assert (plain.session_reference_number, columns(plain)) == carefully(raw)
    for exclusive in (True, False):
        frame = canonical(plain.frame, exclusive=exclusive)
        assert (plain.whole(frame) if frame is not None else None) == canonical(raw, exclusive=exclusive)
    return True


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_official_receipts_are_of_the_plain_form(path: Path) -> None:
    assert agree(path.read_bytes())


def test_documents_with_entities_many_digits_of_a_second_and_gaps_are_plain() -> None:
    spread = three().replace("><", ">\n\t<").replace("10:00:09<", "10:00:09.1234567+01:00<")
    assert agree(receipt(spread, tail=""))
    assert plain_of(receipt(spread, tail="")).acquired == ["2026-11-22T10:00:09.123456+01:00"] * 3


def test_a_moment_without_an_offset_is_left_to_the_careful_reader() -> None:
    assert take_apart(receipt(three(), tail="")) is None


def timely(text: str) -> str:
    return text.replace("10:00:09<", "10:00:09Z<")


def unsigned(documents: str) -> bytes:
    return timely(receipt(documents, tail="").decode()).encode()


@pytest.mark.parametrize(
    "change",
    [
        ("<TrybWysylki>", "<!-- x --><TrybWysylki>"),
        ("<TrybWysylki>", "<?x y?><TrybWysylki>"),
        ("FV &amp; 1", "<![CDATA[FV]]>"),
        ("FV &amp; 1", "FV &#65;"),
        ("FV &amp; 1", "FV > 1"),
        ("FV &amp; 1", "FV \r\n 1"),
        ("FV &amp; 1", "FV \x7f\x01 1"),
        ("FV &amp; 1", 'FV xmlns="" 1'),
        ("FV &amp; 1", "FV \uffff 1"),
        ("10:00:09Z", "10:00:61Z"),
        ("10:00:09Z", "10:00:09+15:00"),
        ("<TrybWysylki>Offline", "<TrybWysylki> Offline"),
        ("<TrybWysylki>Offline", '<TrybWysylki a="b">Offline'),
        ("</Dokument><Dokument>", "</Dokument>text<Dokument>"),
        ("</Dokument><Dokument>", "</Dokument><Dokument/><Dokument>"),
        (f'<Potwierdzenie xmlns="{NAMESPACE}">', f'<Potwierdzenie xmlns="{NAMESPACE}"><Dokument a="b"/>'),
        (f'<Potwierdzenie xmlns="{NAMESPACE}">', f'<Potwierdzenie xmlns="{NAMESPACE}"><!--'),
        ("</Potwierdzenie>", "<Dokument/></Potwierdzenie>"),
        ("</Potwierdzenie>", ""),
        ("<Potwierdzenie", '<!DOCTYPE Potwierdzenie [<!ATTLIST Dokument a CDATA "b">]><Potwierdzenie'),
        ('<?xml version="1.0"?>', '<?xml version="1.0" encoding="iso-8859-2"?>'),
        ("20261122-SB-1", ""),
    ],
)
def test_what_is_not_certainly_plain_is_left_to_the_careful_reader(change: tuple[str, str]) -> None:
    raw = unsigned(three()).decode()
    assert change[0] in raw
    assert take_apart(raw.encode()) is not None
    assert take_apart(raw.replace(change[0], change[1], 1).encode()) is None


@pytest.mark.parametrize(
    "raw", [b"", b"<html/>", b"<Dokument>", b"</Dokument><Dokument>", b"<Dokument>\xff</Dokument>"]
)
def test_what_is_no_receipt_is_not_taken_apart(raw: bytes) -> None:
    assert take_apart(raw) is None


PIECES = st.sampled_from(
    ["<Dokument>", "</Dokument>", "<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&", "<", ">", "\r", "\n", " ", "é", "\ufffe", '"',
     "<NumerFaktury>", "</NumerFaktury>", "<TrybWysylki>Online</TrybWysylki>", "<x>", "</x>", "<Dokument/>", "Z", "+02:00", "0", "A", "="]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 40), PIECES), max_size=3))
def test_whatever_is_done_to_a_receipt_both_readers_agree_if_it_is_taken_apart(
    changes: list[tuple[int, int, str]],
) -> None:
    text = unsigned(three()).decode()
    for place, cut, piece in changes:
        at = place % (len(text) + 1)
        text = text[:at] + piece + text[at + cut :]
    agree(text.encode(errors="surrogatepass"))


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_number_an_invoice_may_have_is_read_alike(number: str) -> None:
    agree(unsigned(document(1).replace("FV &amp; 1", number)))


def sealed(form: CanonicalizationMethod, documents: str) -> bytes:
    certificate, key = self_signed_seal("5265877635", "Ministerstwo", now=datetime.now(UTC))
    signer = XMLSigner(c14n_algorithm=form)
    return etree.tostring(signer.sign(etree.fromstring(unsigned(documents)), key=key, cert=certificate.decode()))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_signature_is_checked_by_the_frame_alone(form: CanonicalizationMethod) -> None:
    raw = sealed(form, three())
    # Had the whole been asked for, this would not have been found valid.
    assert check_signature(NO_RECEIPT, plain_of(raw)) is SignatureState.VALID
    assert check_signature(raw) is SignatureState.VALID


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_document_that_was_changed_moved_repeated_or_left_out_is_noticed(form: CanonicalizationMethod) -> None:
    raw = sealed(form, three())
    one, two = (timely(document(number)).encode() for number in (1, 2))
    digest = base64.b64encode(hashlib.sha256(b"1").digest())
    for forged in (
        raw.replace(b"FV &amp; 1", b"FV &amp; 7"),
        raw.replace(digest, base64.b64encode(bytes(32))),
        raw.replace(one + two, two + one),
        raw.replace(one, one + one),
        raw.replace(two, b""),
        raw.replace(two, two + b"\n"),
        raw.replace(b"20261122-SB-1", b"20261122-SB-2"),
    ):
        assert forged != raw
        assert check_signature(forged, plain_of(forged)) is SignatureState.INVALID


def test_a_signature_of_something_else_in_the_receipt_is_none_of_the_receipt() -> None:
    certificate, key = self_signed_seal("5265877635", "Ministerstwo", now=datetime.now(UTC))
    inner = etree.fromstring(b'<note Id="n">signed</note>')
    signature = XMLSigner().sign(inner, key=key, cert=certificate.decode(), reference_uri="#n")
    raw = timely(receipt(three(), HEAD, etree.tostring(signature).decode()).decode()).encode()
    assert check_signature(raw, plain_of(raw)) is SignatureState.INVALID
    assert check_signature(raw) is SignatureState.INVALID


def test_a_receipt_without_a_signature_is_told_apart() -> None:
    raw = unsigned(three())
    assert check_signature(raw, plain_of(raw)) is SignatureState.ABSENT


def test_what_both_readers_refuse_is_refused() -> None:
    broken = unsigned(three()).replace(b"<SkrotDokumentu>", b"<SkrotDokumentu>A", 1)
    assert take_apart(broken) is None
    with pytest.raises(Unreadable):
        carefully(broken)

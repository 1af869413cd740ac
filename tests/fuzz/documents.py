"""`python -m tests.fuzz.documents [libFuzzer options] [folders]`: fuzz the check of one document.

Half of the new inputs are made by the mutations of `tests.agreement`, so that the fuzzer gets past the parser.
"""

from random import Random

from tests.agreement.mutations import apply, choose
from tests.fuzz.running import run

DICTIONARY = (
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?", b"?>", b"<!DOCTYPE", b"<!ENTITY", b"&#x81;", b"&#129;", b"&#xFDD0;", b"&amp;", b"\xef\xbb\xbf", b"\xc2\x81",
    b"\xc2\x85", b"\xc2\xa0", b"\xf0\x9f\xbf\xbe", b"xmlns=", b"xmlns:a=", b"xsi:nil=", b"xsi:type=", b'encoding="', b'version="', b"<Faktura", b"<Podmiot1>",
    b"<Podmiot2>", b"<Podmiot3>", b"<PodmiotUpowazniony>", b"<DaneIdentyfikacyjne>", b"<NIP>", b"<IDWew>", b"<Fa>", b"<P_1>", b"<P_2>", b"<P_15>", b"<P_17>",
    b"<RodzajFaktury>", b"<FaWiersz>", b"<Zalacznik>", b"<Naglowek>", b"<KodFormularza", b"<Rola>", b"2026-11-20", b"2050-01-01", b"5265877635",
)  # fmt: skip


def mutate(document: bytes, random: Random) -> bytes:
    """Put some of our own mutations on a document."""
    return apply(document, choose(random), random)


if __name__ == "__main__":
    run("app.forms.fa3", "tests.fuzz.document_target:check_document", DICTIONARY, mutate)

"""Receipts (UPO v4-3): the document, its enveloped XAdES signature, the file.

Source: schema upo-v4-3.xsd and the sample receipts of ksef-docs.
"""

import base64
import hashlib
from xml.sax.saxutils import escape

from lxml import etree
from signxml import methods
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.xades.xades import XAdESSigner

from sandbox.work.outcome import UpoDocument, UpoJob
from sandbox.work.xsd import FA3_SCHEMA_NAME

NAMESPACE = "http://upo.schematy.mf.gov.pl/KSeF/v4-3"
_DS = "http://www.w3.org/2000/09/xmldsig#"
_CONTEXT_ELEMENTS = {
    "Nip": "Nip",
    "InternalId": "IdWewnetrzny",
    "NipVatUe": "IdZlozonyVatUE",
    "PeppolId": "IdDostawcyUslugPeppol",
}


class _Sealer(XAdESSigner):
    """signxml's signer, except that every reference names how it was canonicalised.

    Without a Transforms element the standard prescribes inclusive C14N 1.0, which is not what was digested, and a
    verifier that goes by the standard refuses the signature.
    """

    def _add_reference_to_signed_info(
        self, sig_root: etree._Element, node_to_reference: etree._Element, **attrs: str
    ) -> None:
        super()._add_reference_to_signed_info(sig_root, node_to_reference, **attrs)  # type: ignore[no-untyped-call]
        reference = list(sig_root.iter(f"{{{_DS}}}Reference"))[-1]
        transforms = etree.Element(f"{{{_DS}}}Transforms")
        etree.SubElement(transforms, f"{{{_DS}}}Transform", Algorithm=self.c14n_alg.value)
        reference.insert(0, transforms)


def make_upo(job: UpoJob) -> str:
    """Write the signed receipt to `job.target`; the Base64 SHA-256 of the file comes back."""
    signer = _Sealer(
        method=methods.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signed = signer.sign(
        etree.fromstring(upo_document(job)), key=job.seal_key_pem, cert=[job.seal_certificate_pem.decode("ascii")]
    )
    content = etree.tostring(signed, encoding="utf-8", xml_declaration=True)
    job.target.write_bytes(content)
    return base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")


def upo_document(job: UpoJob) -> bytes:
    """The receipt before it is signed; element order as in the schema."""
    context_type, context_value = job.context
    element = _CONTEXT_ELEMENTS[context_type]
    proof = (
        f"<NumerReferencyjnyTokenaKSeF>{job.token_reference}</NumerReferencyjnyTokenaKSeF>"
        if job.token_reference
        else f"<SkrotDokumentuUwierzytelniajacego>{job.document_hash}</SkrotDokumentuUwierzytelniajacego>"
    )
    pages = ""
    if job.page is not None:
        page, count, first, last, total = job.page
        pages = (
            f"<OpisPotwierdzenia><Strona>{page}</Strona><LiczbaStron>{count}</LiczbaStron>"
            f"<ZakresDokumentowOd>{first}</ZakresDokumentowOd><ZakresDokumentowDo>{last}</ZakresDokumentowDo>"
            f"<CalkowitaLiczbaDokumentow>{total}</CalkowitaLiczbaDokumentow></OpisPotwierdzenia>"
        )
    return (
        f'<Potwierdzenie xmlns="{NAMESPACE}">'
        "<NazwaPodmiotuPrzyjmujacego>Ministerstwo Finansów</NazwaPodmiotuPrzyjmujacego>"
        f"<NumerReferencyjnySesji>{job.session_reference_number}</NumerReferencyjnySesji>"
        f"<Uwierzytelnienie><IdKontekstu><{element}>{escape(context_value)}</{element}></IdKontekstu>"
        f"{proof}</Uwierzytelnienie>{pages}"
        f"<NazwaStrukturyLogicznej>{FA3_SCHEMA_NAME}</NazwaStrukturyLogicznej>"
        "<KodFormularza>FA (3)</KodFormularza>"
        f"{''.join(map(_document, job.documents))}</Potwierdzenie>"
    ).encode()


def _document(document: UpoDocument) -> str:
    return (
        f"<Dokument><NipSprzedawcy>{document.seller_nip}</NipSprzedawcy>"
        f"<NumerKSeFDokumentu>{document.ksef_number}</NumerKSeFDokumentu>"
        f"<NumerFaktury>{escape(document.number)}</NumerFaktury>"
        f"<DataWystawieniaFaktury>{document.issue_date.isoformat()}</DataWystawieniaFaktury>"
        f"<DataPrzeslaniaDokumentu>{document.sent}</DataPrzeslaniaDokumentu>"
        f"<DataNadaniaNumeruKSeF>{document.acquired}</DataNadaniaNumeruKSeF>"
        f"<SkrotDokumentu>{document.sha256}</SkrotDokumentu>"
        f"<TrybWysylki>{document.mode}</TrybWysylki></Dokument>"
    )

"""Writer of receipts (UPO v4-3).

Source: schema upo-v4-3.xsd and the sample receipts of ksef-docs.
"""

import base64
import hashlib
from xml.sax.saxutils import escape

from sandbox.pool.outcome import UpoDocument, UpoJob
from sandbox.pool.seal import sealed

NAMESPACE = "http://upo.schematy.mf.gov.pl/KSeF/v4-3"
_CONTEXT_ELEMENTS = {
    "Nip": "Nip",
    "InternalId": "IdWewnetrzny",
    "NipVatUe": "IdZlozonyVatUE",
    "PeppolId": "IdDostawcyUslugPeppol",
}


def make_upo(job: UpoJob) -> str:
    """Write the signed receipt to `job.target` and return the Base64 SHA-256 of the file."""
    content = sealed(upo_document(job), job.seal_key_pem, job.seal_certificate_pem)
    job.target.write_bytes(content)
    return base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")


def upo_document(job: UpoJob) -> bytes:
    """Build the unsigned receipt: elements in the schema's order, in the canonical form that `sealed` needs."""
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
        f"<NazwaStrukturyLogicznej>{job.form.receipt_name}</NazwaStrukturyLogicznej>"
        f"<KodFormularza>{job.form.system_code}</KodFormularza>"
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

"""Findings of an invoice that KSeF called a duplicate (status 440), in both languages."""

from enum import StrEnum
from typing import Final

from app.domain.findings import Finding, Severity


class NotCompared(StrEnum):
    """Reasons for which the original of a duplicate could not be compared with our document."""

    NO_PERMISSION = "no-permission"
    NOT_AVAILABLE = "not-available"
    NO_ANSWER = "no-answer"
    NO_NUMBER = "no-number"


_REASONS: Final = {
    NotCompared.NO_PERMISSION: (
        "the login may not read invoices (InvoiceRead)",
        "login nie ma uprawnienia do odczytu faktur (InvoiceRead)",
    ),
    NotCompared.NOT_AVAILABLE: (
        "KSeF does not give out that invoice (yet)",
        "KSeF (jeszcze) nie udostępnia tej faktury",
    ),
    NotCompared.NO_ANSWER: ("KSeF does not answer", "KSeF nie odpowiada"),
    NotCompared.NO_NUMBER: (
        "KSeF names no KSeF number of the original",
        "KSeF nie podaje numeru KSeF oryginału",
    ),
}


def accepted_earlier(ksef_number: str, session: str | None) -> Finding:
    """Return the warning of an invoice that KSeF had accepted before it called it a duplicate."""
    return Finding(
        "accepted-earlier",
        Severity.WARNING,
        f"KSeF has had this same document since an earlier sending and gave it the number {ksef_number}. "
        "It is issued once; do not issue it again.",
        f"KSeF ma ten sam dokument z wcześniejszej wysyłki i nadał mu numer {ksef_number}. "
        "Faktura jest wystawiona jeden raz; nie należy wystawiać jej ponownie.",
        ksef_number=ksef_number,
        session_reference=session,
    )


def receipt_missing(ksef_number: str) -> Finding:
    """Return the warning of an accepted invoice whose receipt KSeF does not give to this login."""
    return Finding(
        "receipt-missing",
        Severity.WARNING,
        f"KSeF does not give this login the receipt (UPO) of {ksef_number}. It is asked again daily for seven days; "
        "the issuer can fetch it from KSeF.",
        f"KSeF nie wydaje temu loginowi potwierdzenia (UPO) dla {ksef_number}. Pytanie jest ponawiane codziennie przez siedem dni; "
        "wystawca może pobrać je z KSeF.",
        ksef_number=ksef_number,
    )


def duplicate_other(ksef_number: str | None, session: str | None, words: str) -> Finding:
    """Return the error of an invoice whose number KSeF has given to a document with other content."""
    number = f" ({ksef_number})" if ksef_number else ""
    return Finding(
        "duplicate-other",
        Severity.ERROR,
        f"KSeF has another document with the same seller, kind and number{number}. Its content differs from this one.",
        f"KSeF ma inny dokument tego samego sprzedawcy, rodzaju i o tym samym numerze{number}. Jego treść różni się od tej faktury.",
        path="/Faktura/Fa/P_2",
        raw=words or None,
        ksef_number=ksef_number,
        session_reference=session,
    )


def not_compared(reason: NotCompared, ksef_number: str | None, session: str | None, words: str) -> Finding:
    """Return the warning of an invoice of which it is not known yet whether KSeF has it."""
    english, polish = _REASONS[reason]
    number = f" ({ksef_number})" if ksef_number else ""
    return Finding(
        "not-compared",
        Severity.WARNING,
        f"KSeF calls this invoice a duplicate{number}, and it could not be compared with the original: {english}. "
        "It may be issued already; do not issue it again. KSeF is asked again.",
        f"KSeF uznaje fakturę za duplikat{number}, a nie można było porównać jej z oryginałem: {polish}. "
        "Może być już wystawiona; nie należy wystawiać jej ponownie. Pytanie do KSeF jest ponawiane.",
        raw=words or None,
        ksef_number=ksef_number,
        session_reference=session,
    )

"""KOD I: the QR code on every invoice that is shown outside KSeF (ksef-docs, kody-qr.md)."""

import base64
import io
from datetime import date
from typing import Final

import segno

from app.settings import KsefEnvironment

QR_HOSTS: Final = {
    KsefEnvironment.TEST: "https://qr-test.ksef.mf.gov.pl",
    KsefEnvironment.DEMO: "https://qr-demo.ksef.mf.gov.pl",
    KsefEnvironment.PRODUCTION: "https://qr.ksef.mf.gov.pl",
}

QR_MEDIA_TYPES: Final = ("image/svg+xml", "image/png", "application/json")

_PIXELS_A_MODULE: Final = 5


def verification_link(environment: KsefEnvironment, seller_nip: str, issue_date: date, sha256: bytes) -> str:
    """Return the address in KOD I: host, seller's NIP, day of issue and the hash of the XML, in this order."""
    digest = base64.urlsafe_b64encode(sha256).decode("ascii").rstrip("=")
    return f"{QR_HOSTS[environment]}/invoice/{seller_nip}/{issue_date:%d-%m-%Y}/{digest}"


def qr_image(link: str, media_type: str) -> bytes:
    """Draw a link as a QR code, as SVG or PNG, with the quiet zone of four modules that ISO/IEC 18004 asks for."""
    code = segno.make_qr(link, error="m")
    image = io.BytesIO()
    if media_type == "image/png":
        code.save(image, kind="png", scale=_PIXELS_A_MODULE, border=4)
    else:
        code.save(image, kind="svg", scale=_PIXELS_A_MODULE, border=4, xmldecl=True, svgns=True)
    return image.getvalue()

"""The refusal of a credential file: a fixed reason for programs, and a message for the person who gave the file."""

from datetime import datetime
from enum import StrEnum

from app.ksef.errors import CertificateUnusable


class Reason(StrEnum):
    """The reason of a refusal."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    FOREIGN = "foreign"
    DAMAGED = "damaged"
    TOO_COSTLY = "too-costly"
    REQUEST_ONLY = "request-only"
    PUBLIC_KEY_ONLY = "public-key-only"
    PRIVATE_KEY_ONLY = "private-key-only"
    CERTIFICATE_MISSING = "certificate-missing"
    KEY_MISSING = "key-missing"
    PASSWORD_MISSING = "password-missing"  # noqa: S105 - the name of a reason, not a password
    PASSWORD_WRONG = "password-wrong"  # noqa: S105 - the name of a reason, not a password
    ENCRYPTION_UNSUPPORTED = "encryption-unsupported"
    KEY_UNSUPPORTED = "key-unsupported"
    CURVE_UNSUPPORTED = "curve-unsupported"
    RSA_TOO_SMALL = "rsa-too-small"
    KEY_OF_ANOTHER = "key-of-another"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    USAGE_MISSING = "usage-missing"
    OFFLINE_FOR_LOGIN = "offline-for-login"
    NOT_OFFLINE = "not-offline"


class CredentialRefused(CertificateUnusable):
    """A credential file cannot be used; the message has the next step and neither the password nor the key."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CertificateNotYetValid(CredentialRefused):
    """The certificate is good from `valid_from` (UTC) on: it can be used later as it is."""

    def __init__(self, valid_from: datetime, message: str) -> None:
        super().__init__(Reason.NOT_YET_VALID, message)
        self.valid_from = valid_from

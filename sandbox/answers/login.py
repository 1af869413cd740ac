"""Answers of /auth: challenges, logins, tokens."""

from typing import Literal

from pydantic import AwareDatetime

from sandbox.answers.shapes import Answer, Reference, Status


class Challenge(Answer):
    """POST /auth/challenge."""

    challenge: Reference
    timestamp: AwareDatetime
    timestamp_ms: int
    client_ip: str


class Token(Answer):
    """A token and the end of its validity."""

    token: str
    valid_until: AwareDatetime


class LoginStarted(Answer):
    """POST /auth/xades-signature and /auth/ksef-token."""

    reference_number: Reference
    authentication_token: Token


class MethodInfo(Answer):
    """The method of a login."""

    category: Literal["XadesSignature", "NationalNode", "Token", "Other"]
    code: str
    display_name: str


class LoginStatus(Answer):
    """GET /auth/{referenceNumber}."""

    start_date: AwareDatetime
    authentication_method: Literal[
        "Token", "TrustedProfile", "InternalCertificate", "QualifiedSignature", "QualifiedSeal", "PersonalSignature",
        "PeppolSignature",
    ]  # fmt: skip
    authentication_method_info: MethodInfo
    status: Status
    is_token_redeemed: bool | None = None
    last_token_refresh_date: AwareDatetime | None = None
    refresh_token_valid_until: AwareDatetime | None = None


class ListedLogin(LoginStatus):
    """One entry of GET /auth/sessions."""

    reference_number: Reference
    is_current: bool = False


class Logins(Answer):
    """GET /auth/sessions."""

    continuation_token: str | None = None
    items: list[ListedLogin]


class TokenPair(Answer):
    """POST /auth/token/redeem."""

    access_token: Token
    refresh_token: Token


class NewAccessToken(Answer):
    """POST /auth/token/refresh."""

    access_token: Token

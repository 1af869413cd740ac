"""Answers of /tokens."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from sandbox.answers.shapes import Answer, Reference

Description = Annotated[str, Field(min_length=5, max_length=256)]


class TokenMade(Answer):
    """POST /tokens; the only time the token is shown."""

    reference_number: Reference
    token: Annotated[str, Field(max_length=160)]


class TokenAuthor(Answer):
    """The subject that created a token."""

    type: Literal["Nip", "Pesel", "Fingerprint"]
    value: str


class TokenContext(Answer):
    """The context in which a token is valid."""

    type: Literal["Nip", "InternalId", "NipVatUe", "PeppolId"]
    value: str


class TokenStatus(Answer):
    """GET /tokens/{referenceNumber}, and one entry of the list."""

    reference_number: Reference
    author_identifier: TokenAuthor
    context_identifier: TokenContext
    description: Description
    requested_permissions: list[
        Literal[
            "InvoiceRead", "InvoiceWrite", "CredentialsRead", "CredentialsManage", "SubunitManage",
            "EnforcementOperations", "Introspection", "CollectiveIdentifierManage",
        ]
    ]  # fmt: skip
    date_created: AwareDatetime
    last_use_date: AwareDatetime | None = None
    status: Literal["Pending", "Active", "Revoking", "Revoked", "Failed"]
    status_details: list[str] | None = None


class Tokens(Answer):
    """GET /tokens."""

    continuation_token: str | None = None
    tokens: list[TokenStatus]

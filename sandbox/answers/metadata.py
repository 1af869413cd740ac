"""Answer of POST /invoices/query/metadata."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from sandbox.answers.shapes import Answer, KsefNumber, Sha256

Name = Annotated[str, Field(max_length=512)]


class FormCode(Answer):
    """The form of an invoice."""

    system_code: str
    schema_version: str
    value: str


class Seller(Answer):
    """The seller."""

    nip: Annotated[str, Field(min_length=10, max_length=10)]
    name: Name | None = None


class BuyerIdentifier(Answer):
    """The identifier of the buyer."""

    type: Literal["Nip", "VatUe", "Other", "None"]
    value: Annotated[str, Field(max_length=50)] | None = None


class Buyer(Answer):
    """The buyer."""

    identifier: BuyerIdentifier
    name: Name | None = None


class ThirdSubjectIdentifier(Answer):
    """The identifier of a third party."""

    type: Literal["Nip", "InternalId", "VatUe", "Other", "None"]
    value: Annotated[str, Field(max_length=50)] | None = None


class ThirdSubject(Answer):
    """A third party."""

    identifier: ThirdSubjectIdentifier
    name: Name | None = None
    role: int


class AuthorizedSubject(Answer):
    """The authorised entity."""

    nip: Annotated[str, Field(min_length=10, max_length=10)]
    name: Name | None = None
    role: int


class InvoiceMetadata(Answer):
    """Metadata of one accepted invoice."""

    ksef_number: KsefNumber
    invoice_number: Annotated[str, Field(max_length=256)]
    issue_date: date
    invoicing_date: AwareDatetime
    acquisition_date: AwareDatetime
    permanent_storage_date: AwareDatetime
    seller: Seller
    buyer: Buyer
    net_amount: float
    gross_amount: float
    vat_amount: float
    currency: Annotated[str, Field(min_length=3, max_length=3)]
    invoicing_mode: Literal["Online", "Offline"]
    invoice_type: str
    form_code: FormCode
    is_self_invoicing: bool
    has_attachment: bool
    invoice_hash: Sha256
    hash_of_corrected_invoice: Sha256 | None = None
    third_subjects: list[ThirdSubject] | None = None
    authorized_subject: AuthorizedSubject | None = None


class MetadataFound(Answer):
    """One page of metadata."""

    has_more: bool
    is_truncated: bool
    permanent_storage_hwm_date: AwareDatetime | None = None
    invoices: list[InvoiceMetadata]

"""Types of KSeF's answers. Their names are KSeF's own, in snake case.

They accept deviations that KSeF's answers have had: unknown members are ignored, unknown enum values become None, a missing
optional field is None, seven digits of a second are cut to six, and a time without an offset is UTC. Only fields without which
an answer is useless are required. Source: KSeF API 2.9, the schemas named in the docstrings.
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from app.domain.timestamps import to_utc
from app.ksef.answers import Answer
from app.ksef.error_classification import unreadable

SHA256_BYTES = 32


def _utc(value: datetime) -> datetime:
    return to_utc(value)


def _none_if_invalid(value: Any, validate: Any) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


def _sha256_or_none(value: Any) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == SHA256_BYTES else None


def _list_or_empty(value: Any) -> Any:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value if item is not None) if isinstance(value, list) else ()


KsefTime = Annotated[datetime, AfterValidator(_utc)]
OptionalTime = Annotated[KsefTime | None, WrapValidator(_none_if_invalid)]
OptionalText = Annotated[str | None, WrapValidator(_none_if_invalid)]
OptionalCount = Annotated[int | None, WrapValidator(_none_if_invalid)]
Sha256OrNone = Annotated[bytes | None, BeforeValidator(_sha256_or_none)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class KsefModel(BaseModel):
    """Base of KSeF's answers: camel case in JSON, frozen, unknown members ignored, input not quoted in errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )


M = TypeVar("M", bound=KsefModel)


class StatusInfo(KsefModel):
    """A status code with KSeF's description (StatusInfo, InvoiceStatusInfo)."""

    code: int
    description: Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")] = ""
    details: Texts = ()
    extensions: Annotated[
        dict[str, str | None], BeforeValidator(lambda value: value if isinstance(value, dict) else {})
    ] = Field(default_factory=dict)


class TokenInfo(KsefModel):
    """A token and the end of its validity."""

    token: SecretStr
    valid_until: KsefTime


class Challenge(KsefModel):
    """The challenge to sign or encrypt for a login (AuthenticationChallengeResponse). Valid for ten minutes, once."""

    challenge: str
    timestamp: OptionalTime = None
    timestamp_ms: OptionalCount = None
    client_ip: OptionalText = None

    @property
    def milliseconds(self) -> int:
        """The server's time in milliseconds since 1970; from `timestamp` only if the exact field is missing."""
        if self.timestamp_ms is not None:
            return self.timestamp_ms
        if self.timestamp is None:
            raise ValueError("the challenge has no time")
        return int(self.timestamp.timestamp()) * 1000 + self.timestamp.microsecond // 1000


class AuthenticationStarted(KsefModel):
    """A login that KSeF processes (AuthenticationInitResponse)."""

    reference_number: str
    authentication_token: TokenInfo


class AuthenticationMethodInfo(KsefModel):
    """The method of a login."""

    category: OptionalText = None
    code: OptionalText = None
    display_name: OptionalText = None


class AuthenticationStatus(KsefModel):
    """Status of a login (AuthenticationOperationStatusResponse)."""

    status: StatusInfo
    start_date: OptionalTime = None
    authentication_method: OptionalText = None
    authentication_method_info: Annotated[AuthenticationMethodInfo | None, WrapValidator(_none_if_invalid)] = None
    refresh_token_valid_until: OptionalTime = None

    @property
    def method(self) -> str:
        """The most specific name of the login's method. KSeF has announced the removal of the older field."""
        info = self.authentication_method_info
        return (info and (info.display_name or info.code)) or self.authentication_method or "unknown"


class AuthenticationTokens(KsefModel):
    """The tokens of a finished login (AuthenticationTokensResponse)."""

    access_token: TokenInfo
    refresh_token: TokenInfo


class RefreshedToken(KsefModel):
    """A new access token (AuthenticationTokenRefreshResponse)."""

    access_token: TokenInfo


class PublicKeyCertificate(KsefModel):
    """One of KSeF's public keys (PublicKeyCertificate)."""

    certificate: str
    public_key_id: OptionalText = None
    valid_from: OptionalTime = None
    valid_to: OptionalTime = None
    usage: Texts = ()


class PartUploadRequest(KsefModel):
    """The link for the upload of one part (PartUploadRequest). The URL is a credential."""

    ordinal_number: int
    method: str = "PUT"
    url: SecretStr
    headers: Annotated[
        dict[str, str | None], BeforeValidator(lambda value: value if isinstance(value, dict) else {})
    ] = Field(default_factory=dict)


class OpenedBatchSession(KsefModel):
    """An opened session (OpenBatchSessionResponse)."""

    reference_number: str
    part_upload_requests: tuple[PartUploadRequest, ...]


class UpoPage(KsefModel):
    """One page of a session's UPO. The URL is a credential; every status call returns a new one."""

    reference_number: str
    download_url: SecretStr
    download_url_expiration_date: OptionalTime = None


class _Upo(KsefModel):
    pages: Annotated[tuple[UpoPage, ...], BeforeValidator(_list_or_empty)] = ()


class SessionStatus(KsefModel):
    """Status of a session (SessionStatusResponse). Counts are None until KSeF reports them."""

    status: StatusInfo
    date_created: OptionalTime = None
    date_updated: OptionalTime = None
    valid_until: OptionalTime = None
    upo: Annotated[_Upo | None, WrapValidator(_none_if_invalid)] = None
    invoice_count: OptionalCount = None
    successful_invoice_count: OptionalCount = None
    failed_invoice_count: OptionalCount = None

    @property
    def code(self) -> int:
        """The status code: below 200 in progress, 200 processed, above 200 cancelled or all invoices rejected."""
        return self.status.code

    @property
    def is_final(self) -> bool:
        """Whether KSeF has ended its work on the session."""
        return self.status.code >= 200

    @property
    def upo_pages(self) -> tuple[UpoPage, ...]:
        """The pages of the UPO, in KSeF's order; empty before there is one."""
        return self.upo.pages if self.upo is not None else ()


class SessionInvoice(KsefModel):
    """One invoice of a session (SessionInvoiceStatusResponse). `invoice_hash` identifies our row."""

    ordinal_number: OptionalCount = None
    invoice_number: OptionalText = None
    ksef_number: OptionalText = None
    reference_number: str
    invoice_hash: Sha256OrNone = None
    invoice_file_name: OptionalText = None
    acquisition_date: OptionalTime = None
    invoicing_date: OptionalTime = None
    permanent_storage_date: OptionalTime = None
    upo_download_url: SecretStr | None = None
    invoicing_mode: Annotated[Literal["Online", "Offline"] | None, WrapValidator(_none_if_invalid)] = None
    status: StatusInfo

    @property
    def original_ksef_number(self) -> str | None:
        """For a duplicate (440): the KSeF number of the first invoice."""
        return self.status.extensions.get("originalKsefNumber")

    @property
    def original_session_reference_number(self) -> str | None:
        """For a duplicate (440): the session of the first invoice. KSeF has also named the duplicate's own session."""
        return self.status.extensions.get("originalSessionReferenceNumber")


class InvoiceMetadata(KsefModel):
    """Metadata of an accepted invoice (InvoiceMetadata). Its `invoice_hash` identifies the document."""

    ksef_number: str
    invoice_hash: Sha256OrNone = None
    invoicing_date: OptionalTime = None
    acquisition_date: OptionalTime = None
    invoicing_mode: Annotated[Literal["Online", "Offline"] | None, WrapValidator(_none_if_invalid)] = None


class ListedSession(KsefModel):
    """One session of a list (SessionsQueryResponseItem)."""

    reference_number: str
    status: StatusInfo
    date_created: OptionalTime = None
    successful_invoice_count: OptionalCount = None


_ITEMS = TypeAdapter(list[dict[str, Any]])


def read_model(answer: Answer, model: type[M]) -> M:
    """Read the answer's JSON as this model. Raises Unreadable, which names the fields but not their contents."""
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise unreadable(answer, faults(error)) from error


def read_list(answer: Answer, model: type[M]) -> list[M]:
    """Read the answer's JSON array as a list of this model. Raises Unreadable."""
    try:
        return [model.model_validate(item) for item in _ITEMS.validate_json(answer.body)]
    except ValidationError as error:
        raise unreadable(answer, faults(error)) from error


def read_json_object(answer: Answer) -> dict[str, Any]:
    """Read the answer's JSON object without a model. Raises Unreadable."""
    try:
        document = from_json(answer.body)
    except ValueError as error:
        raise unreadable(answer, "it is not JSON") from error
    if not isinstance(document, dict):
        raise unreadable(answer, "it is not a JSON object")
    return document


def faults(error: ValidationError) -> str:
    """Describe a body's breaches of the contract and their places, in one line without its contents."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['type']}" for item in items[:5])

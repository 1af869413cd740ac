"""JSON shapes of findings, invoices, uploads, sessions and receipts, as the API answers and the events show them.

`app.api.responses.schemas` adds the members that only API answers have, `app.webhooks.event_schemas` those of events. The JSON itself
is made by the store (the database function `invoice_json`, `upload_json`, `session_json`); `tests/app/api/test_shapes.py` holds
it to these models. Members are added, never removed or given another meaning: clients ignore members that they do not know.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, NotRequired

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from app.domain.findings import Severity
from app.domain.outage import KsefState
from app.domain.states import InvoiceState, SessionState, UploadState
from app.open_values import OpenValues


def _checked_timestamp(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _checked_day(text: str) -> str:
    date.fromisoformat(text)
    return text


_ID: Final = "_[0-9a-f]{32}$"
TenantId = Annotated[str, Field(pattern="^ten" + _ID)]
InvoiceId = Annotated[str, Field(pattern="^inv" + _ID)]
UploadId = Annotated[str, Field(pattern="^upl" + _ID)]
SessionId = Annotated[str, Field(pattern="^ses" + _ID)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hex.")]
Count = Annotated[int, Field(ge=0)]
# Strings instead of `datetime`: answers and events keep the exact text that the store wrote.
Timestamp = Annotated[str, AfterValidator(_checked_timestamp), Field(json_schema_extra={"format": "date-time"})]
# States in answers: clients must expect values that are not listed.
AnyInvoiceState = Annotated[InvoiceState, OpenValues(InvoiceState)]
AnyUploadState = Annotated[UploadState, OpenValues(UploadState)]
AnySessionState = Annotated[SessionState, OpenValues(SessionState)]
AnyKsefState = Annotated[KsefState, OpenValues(KsefState)]
AnySeverity = Annotated[Severity, OpenValues(Severity)]
Day = Annotated[str, AfterValidator(_checked_day), Field(json_schema_extra={"format": "date"})]


class Shape(BaseModel):
    """Base of all shapes; their instances do not change."""

    model_config = ConfigDict(frozen=True)


class Finding(Shape):
    """One fault (or oddity) of one invoice."""

    rule: str = Field(description="Stable id of the rule.")
    severity: AnySeverity = Field(
        description="`error` keeps an invoice from being sent, `warning` does not; expect others."
    )
    message: str
    message_pl: str
    line: int | None = Field(description="Line of the XML, from 1; null when the fault has no place.")
    path: str | None = Field(description="XPath without namespaces; null when the fault has no place in the XML.")
    raw: str | None = Field(
        default=None, description="The text of KSeF or of a tool that reported the fault; absent or null otherwise."
    )
    ksef_number: str | None = Field(
        default=None,
        description="Of `duplicate-other` and its kin: the KSeF number of the original; absent or null otherwise.",
    )
    session_reference: str | None = Field(
        default=None,
        description="KSeF's reference number of the original's session, as KSeF named it; absent or null otherwise.",
    )


class Invoice(Shape):
    """One invoice with its state, its findings and KSeF's verdict."""

    id: InvoiceId
    state: AnyInvoiceState
    name: str = Field(description="Name of the file or archive entry that the invoice was sent in.")
    number: str | None = Field(description="The issuer's own number (P_2).")
    seller_nip: str | None
    kind: str | None = Field(description="RodzajFaktury.")
    issue_date: Day | None = Field(description="P_1.")
    sha256: Sha256
    size: Count = Field(description="Bytes of the XML.")
    upload: UploadId
    session: SessionId | None
    ksef_number: str | None
    acquired_at: Timestamp | None = Field(description="When KSeF gave the number, from the UPO.")
    invoicing_mode: str | None = Field(
        description="`Online` or `Offline`, from the UPO; expect others. Null until KSeF has accepted the invoice."
    )
    findings: list[Finding]
    duplicate_of: InvoiceId | None


@with_config(ConfigDict(extra="allow"))
class PassedOver(TypedDict):
    """Things of one kind that an upload holds and that are no invoices."""

    kind: Annotated[
        str,
        Field(
            description="`folder`, `system-file`, `form-field`, `empty-part`, `archive` or `blank-line`. Expect others."
        ),
    ]
    count: int
    names: Annotated[list[str], Field(description="The first few names.")]


@with_config(ConfigDict(extra="allow"))
class UploadError(TypedDict):
    """One place where reading an upload ended early. It has a `reason`, or the `code` of an error without a place."""

    reason: NotRequired[Annotated[str, Field(description="Stable id of the fault, in kebab case.")]]
    code: NotRequired[Annotated[str, Field(description="Stable code of an error that has no `reason`.")]]
    message: str
    message_pl: NotRequired[str]
    offset: NotRequired[
        Annotated[int | None, Field(description="The byte of the body near which reading ended; null when not known.")]
    ]
    passed_over: NotRequired[
        Annotated[
            list[PassedOver],
            Field(description="With `no-invoices-found`: what the body holds in place of invoices."),
        ]
    ]


class Upload(Shape):
    """One request body and the states of its invoices."""

    id: UploadId
    state: AnyUploadState = Field(
        description="`received`, `reading`, `in_progress`, `completed` when every invoice has its last state, `failed` when the "
        "body could not be read to its end; expect others."
    )
    bytes: Count
    sha256: Sha256 | None = Field(
        description="Of the body as it was sent, in hex. Null only while an upload that was sent in pieces waits to be hashed."
    )
    repeat_of: UploadId | None = Field(
        default=None, description="The first upload of the same body within seven days; null when there was none."
    )
    reference: str | None
    counts: dict[AnyInvoiceState, int] = Field(description="Invoices by state; states without invoices are left out.")
    errors: list[UploadError] = Field(description="Where reading ended early; empty when the body was read to its end.")
    created_at: Timestamp
    completed_at: Timestamp | None


class UpoPage(Shape):
    """One page of a session's official receipt."""

    page: int = Field(ge=1)
    reference_number: str = Field(description="KSeF's reference number of the page.")
    documents: Count = Field(description="Invoices on the page.")
    bytes: Count
    sha256: Sha256
    href: str = Field(description="Where this API gives the page; needs an API key.")


class SessionCounts(Shape):
    """Invoices of a session by their outcome. Further outcomes would be integers, too."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Count]

    accepted: Count
    rejected: Count
    failed: Count
    requeued: Count


class Session(Shape):
    """One batch session with KSeF."""

    id: SessionId
    state: AnySessionState
    reference_number: str | None = Field(description="KSeF's reference number of the session; null before it is open.")
    form_code: str
    offline_mode: bool
    compression: str = Field(description="`zip` or `targz`; expect others.")
    invoices: Count
    parts: Count
    bytes: int | None = Field(description="Bytes of the package before encryption; null before it is packed.")
    ksef_status: int | None = Field(description="The last status code that KSeF gave the session.")
    sealed_at: Timestamp
    opened_at: Timestamp | None
    closed_at: Timestamp | None
    completed_at: Timestamp | None
    counts: SessionCounts
    upo: Sequence[UpoPage]


class HistoryEntry(Shape):
    """One step in the history of an invoice or a session, and its outcome."""

    at: Timestamp | None
    action: str = Field(
        description="`receive`, `check`, `resolve` and `verdict` of an invoice; `seal`, `pack`, `open`, `put-part`, `close`, `status`, "
        "`results`, `duplicates`, `upo`, `upo-link`, `enter` and `finish` of a session. Expect others."
    )
    outcome: str
    detail: dict[str, Any] = {}


class KsefAvailability(Shape):
    """Whether KSeF answers. While it is away sending pauses; invoices are taken as always."""

    state: AnyKsefState
    since: Timestamp | None = Field(description="Since when; null when it was never away.")
    reason: str | None = Field(description="The last call without an answer, or the operator's words.")
    ordered: bool = Field(description="True when an operator ordered it; false when KSeF's own answers say so.")

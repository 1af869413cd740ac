"""What consumers are told: the shape of every event, and the JSON Schemas made from it.

`python -m app.webhooks.event_schemas --write` writes `schemas/events/<type>.json`; a test holds files, models and the database's own
`invoice_document` together. Fields are added, never removed or given another meaning: consumers ignore what they do not know.
"""

import argparse
import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.findings import Severity
from app.domain.states import InvoiceState, SessionState, UploadState

_ID: Final = "_[0-9a-f]{32}$"
EventId = Annotated[str, Field(pattern="^evt" + _ID)]
TenantId = Annotated[str, Field(pattern="^ten" + _ID)]
InvoiceId = Annotated[str, Field(pattern="^inv" + _ID)]
UploadId = Annotated[str, Field(pattern="^upl" + _ID)]
SessionId = Annotated[str, Field(pattern="^ses" + _ID)]
WebhookId = Annotated[str, Field(pattern="^whk" + _ID)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hex.")]
Count = Annotated[int, Field(ge=0)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True)


class FindingItem(_Shape):
    """One fault of an invoice."""

    rule: str = Field(description="Stable id of the rule.")
    severity: Severity
    message: str
    message_pl: str
    line: int | None = Field(description="Line of the document, from 1; null when the fault has no place.")
    path: str | None = Field(description="XPath without namespaces; null when the fault has no place.")
    raw: str | None = Field(default=None, description="KSeF's or a tool's own words, when they are not ours.")


class InvoiceItem(_Shape):
    """An invoice and its verdict, as `GET /v1/invoices/{id}` shows it, without history."""

    id: InvoiceId
    state: InvoiceState
    name: str = Field(description="Name of the file or entry that it came in.")
    number: str | None = Field(description="The issuer's own number (P_2).")
    seller_nip: str | None
    kind: str | None = Field(description="RodzajFaktury.")
    issue_date: date | None = Field(description="P_1.")
    sha256: Sha256
    size: Count = Field(description="Bytes of the XML document.")
    upload: UploadId
    session: SessionId | None
    ksef_number: str | None
    acquired_at: datetime | None = Field(description="When KSeF gave the number, from the UPO.")
    invoicing_mode: str | None
    findings: list[FindingItem]
    duplicate_of: InvoiceId | None


class InvoicesData(_Shape):
    """Invoices of one session that have the same verdict; up to 500 an event."""

    session: SessionId
    invoices: list[InvoiceItem] = Field(min_length=1, max_length=500)


class UploadData(_Shape):
    """An upload of which every invoice has its last state, as `GET /v1/uploads/{id}` shows it."""

    id: UploadId
    state: UploadState = Field(description="completed, or failed when it could not be read to its end.")
    bytes: Count
    sha256: Sha256
    repeat_of: UploadId | None = Field(
        default=None, description="The first upload of the same body within seven days; null when there was none."
    )
    reference: str | None
    counts: dict[InvoiceState, int] = Field(description="Invoices by state; a state without any is left out.")
    errors: list[dict[str, Any]] = Field(description="Where reading broke off, if it did.")
    created_at: datetime
    completed_at: datetime | None


class UpoPage(_Shape):
    """One page of a session's official receipt."""

    page: int = Field(ge=1)
    reference_number: str = Field(description="KSeF's reference number of the page.")
    documents: Count
    bytes: Count
    sha256: Sha256
    href: str = Field(description="Where this API gives the page; needs an API key.")
    link: str | None = Field(
        default=None, description="A path that gives the page without an API key, until `link_expires_at`."
    )
    link_expires_at: datetime | None = None


class SessionCounts(_Shape):
    """Invoices of a session by what became of them."""

    accepted: Count
    rejected: Count
    failed: Count
    requeued: Count


class SessionData(_Shape):
    """A session that has ended, as `GET /v1/sessions/{id}` shows it, without history."""

    id: SessionId
    state: SessionState
    reference_number: str | None
    form_code: str
    offline_mode: bool
    compression: str
    invoices: Count
    parts: Count
    bytes: int | None = Field(description="Bytes of the package before encryption.")
    ksef_status: int | None
    sealed_at: datetime
    opened_at: datetime | None
    closed_at: datetime | None
    completed_at: datetime | None
    counts: SessionCounts
    upo: list[UpoPage]


class UpoData(_Shape):
    """The official receipt of a session is stored."""

    session: SessionId
    reference_number: str | None = Field(description="KSeF's reference number of the session.")
    upo: list[UpoPage] = Field(min_length=1)


class KsefData(_Shape):
    """Whether KSeF is there, as `GET /v1/me` shows it."""

    state: Literal["available", "away"]
    since: datetime
    reason: str | None = Field(description="The last call without an answer, or the operator's words.")
    ordered: bool = Field(description="True when an operator ordered it; false when KSeF's own answers say so.")


class DisabledData(_Shape):
    """A webhook that gets nothing any more. What it misses can be replayed to it once it is enabled again."""

    webhook: WebhookId
    url: str
    description: str
    reason: Literal["failing", "gone", "asked"] = Field(
        description="`failing` (nothing has succeeded for days), `gone` (it answered 410), `asked` (somebody switched it off)."
    )
    disabled_at: datetime
    failing_since: datetime | None = Field(description="Since when nothing has succeeded: where a replay should start.")


class TestData(_Shape):
    """Nothing happened: somebody asked for a test."""

    __test__ = False

    webhook: WebhookId
    message: str


class Event(_Shape):
    """The envelope of every event: the body of a webhook, and an item of `GET /v1/events`."""

    id: EventId = Field(description="The same in every attempt to deliver it, and in the header webhook-id.")
    type: str
    timestamp: datetime = Field(description="When it happened, UTC; not when it was delivered.")
    tenant: TenantId
    data: Any


class UploadCompleted(Event):
    """Every invoice of an upload has its last state."""

    type: Literal["upload.completed"]
    data: UploadData


class InvoicesAccepted(Event):
    """KSeF gave numbers to these invoices, and their receipt is stored."""

    type: Literal["invoices.accepted"]
    data: InvoicesData


class InvoicesRejected(Event):
    """These invoices ended without a number; each finding says why."""

    type: Literal["invoices.rejected"]
    data: InvoicesData


class SessionCompleted(Event):
    """Every invoice of a session has its verdict."""

    type: Literal["session.completed"]
    data: SessionData


class SessionFailed(Event):
    """A session ended without verdicts; its invoices were queued again or failed."""

    type: Literal["session.failed"]
    data: SessionData


class UpoAvailable(Event):
    """The official receipt of a session can be fetched."""

    type: Literal["upo.available"]
    data: UpoData


class KsefUnavailable(Event):
    """KSeF has not answered for minutes: sending pauses, invoices are taken as ever. Told to tenants with work under way."""

    type: Literal["ksef.unavailable"]
    data: KsefData


class KsefAvailable(Event):
    """KSeF answers again: sending has gone on by itself."""

    type: Literal["ksef.available"]
    data: KsefData


class WebhookDisabled(Event):
    """A webhook was disabled. Told to the tenant's other webhooks and by `GET /v1/events`."""

    type: Literal["webhook.disabled"]
    data: DisabledData


class WebhookTest(Event):
    """Asked for by `POST /v1/webhooks/{id}/test`; goes to that webhook only."""

    type: Literal["webhook.test"]
    data: TestData


MODELS: Final[dict[str, type[Event]]] = {
    "upload.completed": UploadCompleted,
    "invoices.accepted": InvoicesAccepted,
    "invoices.rejected": InvoicesRejected,
    "session.completed": SessionCompleted,
    "session.failed": SessionFailed,
    "upo.available": UpoAvailable,
    "ksef.unavailable": KsefUnavailable,
    "ksef.available": KsefAvailable,
    "webhook.disabled": WebhookDisabled,
    "webhook.test": WebhookTest,
}
"""The model of each event, by its type."""


def json_schema(event_type: str) -> str:
    """Give the JSON Schema (draft 2020-12) of one event type, as its file has it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= MODELS[event_type].model_json_schema(mode="serialization")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the schema files, or say which differ: exit code 1 when one does."""
    parser = argparse.ArgumentParser(
        prog="python -m app.webhooks.event_schemas", description="JSON Schemas of the events."
    )
    parser.add_argument("--write", action="store_true", help="write the files instead of comparing them")
    parser.add_argument("--folder", type=Path, default=Path("schemas/events"), help="where the files are")
    options = parser.parse_args(arguments)
    differing = []
    for event_type in MODELS:
        path = options.folder / f"{event_type}.json"
        wanted = json_schema(event_type)
        if options.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != wanted:
            differing.append(path.name)
    if differing:
        print(f"out of date: {', '.join(differing)}; run python -m app.webhooks.event_schemas --write", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

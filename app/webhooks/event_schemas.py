"""Models of the webhook events, and the JSON Schemas made from them.

`python -m app.webhooks.event_schemas --write` writes `schemas/events/<type>.json`; a test compares the files with the models. What an
event shares with the API's answers is in `app.shapes`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from app.open_values import OpenValues
from app.shapes import (
    Invoice,
    KsefAvailability,
    Session,
    SessionId,
    Sha256,
    Shape,
    TenantId,
    Timestamp,
    Upload,
    UpoPage,
)

EventId = Annotated[str, Field(pattern="^evt_[0-9a-f]{32}$")]
WebhookId = Annotated[str, Field(pattern="^whk_[0-9a-f]{32}$")]
_Reason = Literal["failing", "gone", "asked"]


class InvoicesData(Shape):
    """Invoices of one session that have the same verdict; up to 500 an event."""

    session: SessionId
    invoices: list[Invoice] = Field(min_length=1, max_length=500)


class CompletedUpload(Upload):
    """An upload of which every invoice has its last state, as `GET /v1/uploads/{id}` shows it, without links."""

    sha256: Sha256


class LinkedUpoPage(UpoPage):
    """One page of a session's official receipt, with a link that needs no API key."""

    link: str | None = Field(
        default=None, description="A path that gives the page without an API key, until `link_expires_at`."
    )
    link_expires_at: Timestamp | None = None


class EndedSession(Session):
    """A session that has ended, as `GET /v1/sessions/{id}` shows it, without history."""

    upo: Sequence[LinkedUpoPage]


class UpoData(Shape):
    """The official receipt of a session is stored."""

    session: SessionId
    reference_number: str | None = Field(description="KSeF's reference number of the session.")
    upo: list[LinkedUpoPage] = Field(min_length=1)


class KsefChange(KsefAvailability):
    """Whether KSeF answers, as `GET /v1/me` shows it."""

    since: Timestamp


class DisabledData(Shape):
    """A webhook that was disabled. The events that it misses can be replayed to it once it is enabled again."""

    webhook: WebhookId
    url: str
    description: str
    reason: Annotated[_Reason, OpenValues(_Reason)] = Field(
        description="`failing` (no delivery has succeeded for days), `gone` (it answered 410), `asked` (switched off by a request); "
        "expect others."
    )
    disabled_at: Timestamp
    failing_since: Timestamp | None = Field(
        description="Since when no delivery has succeeded: where a replay should start."
    )


class TestData(Shape):
    """The data of a test event, which `POST /v1/webhooks/{id}/test` sends; it reports nothing else."""

    __test__ = False

    webhook: WebhookId
    message: str


class Event(Shape):
    """The envelope of every event: the body of a webhook, and an item of `GET /v1/events`."""

    id: EventId = Field(description="The same in every attempt to deliver it, and in the header webhook-id.")
    type: str
    timestamp: Timestamp = Field(description="When it happened, UTC; not when it was delivered.")
    tenant: TenantId
    data: Any


class UploadCompleted(Event):
    """Every invoice of an upload has its last state."""

    type: Literal["upload.completed"]
    data: CompletedUpload


class InvoicesAccepted(Event):
    """KSeF gave numbers to these invoices, and their receipt is stored."""

    type: Literal["invoices.accepted"]
    data: InvoicesData


class InvoicesRejected(Event):
    """These invoices ended without a number; each finding says why."""

    type: Literal["invoices.rejected"]
    data: InvoicesData


class InvoicesUnresolved(Event):
    """KSeF has called these invoices duplicates, and for an hour they could not be compared with their originals.

    They stay `sent` and are searched for again; `POST /v1/invoices/{id}/resolve` ends it by hand.
    """

    type: Literal["invoices.unresolved"]
    data: InvoicesData


class SessionCompleted(Event):
    """KSeF has processed a session. Its invoices have their verdicts, except those that KSeF called duplicates, which follow."""

    type: Literal["session.completed"]
    data: EndedSession


class SessionFailed(Event):
    """A session ended without verdicts; its invoices were queued again or failed."""

    type: Literal["session.failed"]
    data: EndedSession


class UpoAvailable(Event):
    """The official receipt of a session can be fetched."""

    type: Literal["upo.available"]
    data: UpoData


class KsefUnavailable(Event):
    """KSeF has not answered for minutes: sending pauses, invoices are taken as always. Sent to tenants with work under way."""

    type: Literal["ksef.unavailable"]
    data: KsefChange


class KsefAvailable(Event):
    """KSeF answers again: sending has gone on by itself."""

    type: Literal["ksef.available"]
    data: KsefChange


class WebhookDisabled(Event):
    """A webhook was disabled. Sent to the tenant's other webhooks and shown by `GET /v1/events`."""

    type: Literal["webhook.disabled"]
    data: DisabledData


class WebhookTest(Event):
    """A test, requested by `POST /v1/webhooks/{id}/test`; sent to that webhook only."""

    type: Literal["webhook.test"]
    data: TestData


MODELS: Final[dict[str, type[Event]]] = {
    "upload.completed": UploadCompleted,
    "invoices.accepted": InvoicesAccepted,
    "invoices.rejected": InvoicesRejected,
    "invoices.unresolved": InvoicesUnresolved,
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
    """Return the JSON Schema (draft 2020-12) of one event type, as in its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= MODELS[event_type].model_json_schema(mode="serialization")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the schema files, or print the names of those that differ and return 1."""
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

"""`POST /v1/invoices/{id}/resolve`: a person's decision on an invoice that KSeF calls a duplicate."""

from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.api.dependencies import CurrentStore, CurrentTenant, Now
from app.api.http.errors import InvalidRequest
from app.api.http.problems import declare
from app.api.responses.schemas import InvoiceDetail
from app.api.routes.invoices import shown_invoice
from app.domain.ids import parse_public_id, public_id
from app.domain.ksef_number import is_valid_ksef_number
from app.domain.states import InvoiceState
from app.errors import NotFound, Unauthorized
from app.observability.logs import get_logger
from app.store.sessions.settlements import NotUnresolved

router: Final = APIRouter(prefix="/v1", tags=["invoices"])
log = get_logger(__name__)


class ResolvedOutcome(StrEnum):
    """Outcomes that a person can decide on."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Resolution(BaseModel):
    """The decision on an unresolved invoice."""

    model_config = ConfigDict(extra="forbid")

    outcome: ResolvedOutcome = Field(
        description="`accepted`: KSeF has this same document. `rejected`: it has another one with the same number."
    )
    ksef_number: Annotated[str, Field(max_length=36)] | None = Field(
        default=None, description="KSeF number of the document that KSeF has; without it the one that KSeF named."
    )

    @field_validator("ksef_number")
    @classmethod
    def _is_one(cls, value: str | None) -> str | None:
        if value is not None and not is_valid_ksef_number(value):
            raise ValueError("not a KSeF number: its form, its day or its checksum is wrong")
        return value


@router.post(
    "/invoices/{invoice_id}/resolve",
    response_model=InvoiceDetail,
    responses=declare(Unauthorized, NotFound, NotUnresolved, InvalidRequest),
)
async def resolve_invoice(
    invoice_id: str, resolution: Resolution, store: CurrentStore, tenant: CurrentTenant, now: Now
) -> Response:
    """End an invoice by hand that KSeF calls a duplicate and that could not be compared with its original."""
    invoice = parse_public_id("inv", invoice_id)
    await store.settlements.resolve(
        tenant.id,
        invoice,
        InvoiceState(resolution.outcome.value),
        resolution.ksef_number,
        now=now,
    )
    log.warning(
        "invoice_resolved",
        tenant=tenant.public_id,
        invoice=public_id("inv", invoice),
        outcome=resolution.outcome.value,
        ksef_number=resolution.ksef_number,
    )
    return JSONResponse(await shown_invoice(store, tenant, invoice_id))

"""The JSON that the store makes fits the shapes of the API and the events: strictly, in every state, without unknown members."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app import shapes
from app.api.responses import schemas
from app.domain.findings import Finding, Severity
from app.domain.ids import parse_public_id
from app.domain.states import InvoiceState, SessionState, UploadState
from app.reading.faults import unreadable
from app.store.sessions.session_json import session_json
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import FIRST, InvoiceFilter
from app.store.uploads.uploads import upload_json
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import Filled, fill

NOW = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
OPTIONAL = {"raw", "reason", "code", "message_pl", "offset", "link", "link_expires_at", "blocked_until"}
"""Members that may be absent, of findings, errors of uploads, pages in events and quotas."""


def assert_fits(model: type[BaseModel], answer: Any) -> None:
    """Assert that an answer is of a shape: strictly typed, nothing unknown at any depth, nothing missing."""
    text = json.dumps(answer)
    parsed = model.model_validate_json(text, strict=True)
    assert json.loads(parsed.model_dump_json(exclude_unset=True)) == answer
    assert set(answer) >= set(model.model_fields) - OPTIONAL


async def _tenant(store: Store) -> Tenant:
    return await store.tenants.add(
        nip="5265877635", name="Spółka", credential_kind="ksef_token", credential={"token": "t"}, compression="zip", now=NOW
    )  # fmt: skip


async def _invoices(store: Store, tenant: Tenant) -> list[dict[str, Any]]:
    rows = await store.invoices.page(tenant.id, InvoiceFilter(), after=FIRST, limit=100)
    return [row for _, row in rows]


async def _session(store: Store, tenant: Tenant, filled: Filled) -> dict[str, Any]:
    return session_json(
        await store.sessions.get(tenant.id, filled.session_id),
        parts=1,
        upo_pages=await store.sessions.upo_pages(tenant.id, filled.session_id),
    )


@pytest.mark.parametrize("state", InvoiceState)
async def test_an_invoice_in_every_state_fits_its_shape(store: Store, state: InvoiceState) -> None:
    tenant = await _tenant(store)
    await fill(store, tenant, NOW)
    await store.database.execute("UPDATE invoices SET state = %(state)s", {"state": state.value})
    found = await _invoices(store, tenant)
    assert [invoice["state"] for invoice in found] == [state.value] * 4
    for invoice in found:
        assert_fits(shapes.Invoice, invoice)
    assert [finding["rule"] for invoice in found for finding in invoice["findings"]] == ["xsd-bad-value"]


async def test_an_invoice_with_every_member_and_with_the_least_fits_its_shape(store: Store) -> None:
    tenant = await _tenant(store)
    await fill(store, tenant, NOW)
    findings = [
        Finding("schema", severity, 'bad "one"\n', "źle", line=3, path="/Faktura/Fa/P_1", raw="cvc").as_dict()
        for severity in Severity
    ]
    await store.database.execute(
        "UPDATE invoices SET findings = %(findings)s::jsonb, duplicate_of = id", {"findings": json.dumps(findings)}
    )
    for invoice in await _invoices(store, tenant):
        assert_fits(shapes.Invoice, invoice)
        assert invoice["findings"] == findings
    await store.database.execute(
        """UPDATE invoices SET findings = NULL, number = NULL, seller_nip = NULL, kind = NULL, issue_date = NULL,
           session_id = NULL, ksef_number = NULL, acquired_at = NULL, invoicing_mode = NULL, duplicate_of = NULL"""
    )
    for invoice in await _invoices(store, tenant):
        assert_fits(shapes.Invoice, invoice)


@pytest.mark.parametrize("state", UploadState)
async def test_an_upload_in_every_state_fits_its_shape(store: Store, state: UploadState) -> None:
    tenant = await _tenant(store)
    filled = await fill(store, tenant, NOW)
    fault = unreadable("zip-truncated", "cut off", "ucięty", 17)
    errors = [*(fault.errors or ()), {"code": "blob-missing", "message": "gone"}]
    for change in (
        "errors = %(errors)s::jsonb",
        "sha256 = NULL, segmented = true, completed_at = NULL",
        "repeat_of = id",
    ):
        await store.database.execute(
            f"UPDATE uploads SET state = %(state)s, {change}", {"state": state.value, "errors": json.dumps(errors)}
        )
        upload = upload_json(await store.uploads.get(tenant.id, parse_public_id("upl", filled.upload)))
        assert upload["state"] == state.value
        assert upload["errors"] == errors
        assert_fits(shapes.Upload, upload)


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("finish", [False, True])
async def test_a_session_in_every_state_fits_its_shape(store: Store, state: SessionState, finish: bool) -> None:
    tenant = await _tenant(store)
    filled = await fill(store, tenant, NOW, pages=2, finish=finish)
    await store.database.execute("UPDATE sessions SET state = %(state)s", {"state": state.value})
    session = await _session(store, tenant, filled)
    assert session["state"] == state.value
    assert len(session["upo"]) == (2 if finish else 0)
    assert set(session["counts"]) == set(shapes.SessionCounts.model_fields)
    assert_fits(shapes.Session, session)


async def test_answers_of_the_api_fit_their_shapes(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    await alpha.http.post(
        "/v1/uploads/resumable", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filetype YXBwbGljYXRpb24vemlw"}
    )  # fmt: skip
    expected: list[tuple[str, type[BaseModel]]] = [
        (f"/v1/uploads/{filled.upload}", schemas.Upload),
        ("/v1/uploads", schemas.UploadPage),
        ("/v1/uploads/resumable", schemas.UnfinishedPage),
        (f"/v1/sessions/{filled.session}", schemas.SessionDetail),
        ("/v1/sessions", schemas.SessionPage),
        ("/v1/invoices", schemas.InvoicePage),
        (f"/v1/uploads/{filled.upload}/invoices", schemas.InvoicePage),
        ("/v1/me", schemas.Account),
        *((f"/v1/invoices/{invoice}", schemas.InvoiceDetail) for invoice in filled.invoices),
    ]
    for path, model in expected:
        answer = await alpha.http.get(path)
        assert answer.status_code == 200, answer.text
        assert_fits(model, answer.json())
        assert answer.json().get("items") != []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"state": "lost"}, "state"),
        ({"size": "7"}, "size"),
        ({"id": "upl_" + "0" * 32}, "id"),
        ({"acquired_at": "yesterday"}, "acquired_at"),
        ({"issue_date": "22.11.2026"}, "issue_date"),
        ({"findings": [{"rule": "r", "severity": "error", "message": "m"}]}, "message_pl"),
    ],
)
async def test_a_wrong_member_does_not_fit(store: Store, change: dict[str, Any], found: str) -> None:
    tenant = await _tenant(store)
    await fill(store, tenant, NOW)
    [first, *_] = await _invoices(store, tenant)
    with pytest.raises(ValidationError, match=found):
        assert_fits(shapes.Invoice, first | change)


async def test_an_unknown_member_does_not_fit(store: Store) -> None:
    tenant = await _tenant(store)
    await fill(store, tenant, NOW)
    first = next(invoice for invoice in await _invoices(store, tenant) if invoice["findings"])
    with pytest.raises(AssertionError):
        assert_fits(shapes.Invoice, first | {"more": 1})
    with pytest.raises(AssertionError):
        assert_fits(shapes.Invoice, first | {"findings": [first["findings"][0] | {"more": 1}]})

"""What consumers are told: schemas, models and the database's own documents agree."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.domain.findings import Finding, Severity
from app.domain.ids import parse_public_id
from app.shapes import Invoice
from app.store.events.feed import BEGINNING
from app.store.events.outbox import EventType
from app.store.sessions.session_json import session_json
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import upload_json
from app.webhooks.event_schemas import MODELS, CompletedUpload, EndedSession, Event, UpoData, json_schema, main
from tests.app.api.filled_store import Filled, fill
from tests.support.visible_events import events_are_visible

FOLDER = Path(__file__).resolve().parents[3] / "schemas" / "events"
NOW = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)


async def _tenant(store: Store, nip: str = "5265877635") -> Tenant:
    return await store.tenants.add(
        nip=nip, name="Spółka", credential_kind="ksef_token", credential={"token": "t"}, compression="zip", now=NOW
    )


async def _told(store: Store, tenant: Tenant, event: EventType, filled: Filled) -> list[dict[str, Any]]:
    """Write the events of a session's invoices as the stages do, and read them as the API does."""
    async with store.database.transaction() as connection:
        await store.outbox.add_invoices(
            connection,
            event,
            tenant_id=tenant.id,
            session_id=filled.session_id,
            states=["accepted", "rejected"],
            now=NOW,
        )
    await events_are_visible(store)
    page = await store.feed.page(tenant.id, after=BEGINNING, types=[event.value], limit=1000)
    return [json.loads(row["data"]) for row in page.rows]


def test_every_event_type_has_a_model_and_a_schema_file() -> None:
    types = {event_type.value for event_type in EventType}
    assert set(MODELS) == types
    assert {path.stem for path in FOLDER.glob("*.json")} == types


@pytest.mark.parametrize("event_type", MODELS)
def test_the_schema_files_are_those_of_the_models(event_type: str) -> None:
    assert (FOLDER / f"{event_type}.json").read_text(encoding="utf-8") == json_schema(event_type)
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema(event_type)))


def test_the_command_writes_what_it_then_finds_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folder", str(tmp_path)]) == 1
    assert "webhook.test.json" in capsys.readouterr().err
    assert main(["--folder", str(tmp_path), "--write"]) == 0
    assert main(["--folder", str(tmp_path)]) == 0
    (tmp_path / "upo.available.json").write_text("{}", encoding="utf-8")
    assert main(["--folder", str(tmp_path)]) == 1


async def test_an_invoice_of_the_database_is_the_item_of_the_model_field_by_field(store: Store) -> None:
    tenant = await _tenant(store)
    filled = await fill(store, tenant, NOW)
    (data,) = await _told(store, tenant, EventType.INVOICES_ACCEPTED, filled)
    assert len(data["invoices"]) == 3
    for item in data["invoices"]:
        assert set(item) == set(Invoice.model_fields)
        assert item["ksef_number"]
        event = _envelope("invoices.accepted", data)
        jsonschema.validate(event, json.loads(json_schema("invoices.accepted")))
        MODELS["invoices.accepted"].model_validate(event)


async def test_an_invoice_with_findings_and_nothing_known_fits_the_model_too(store: Store) -> None:
    tenant = await _tenant(store)
    filled = await fill(store, tenant, NOW)
    finding = Finding("schema", Severity.ERROR, "bad", "źle", raw="cvc-1").as_dict()
    await store.database.execute(
        """UPDATE invoices SET state = 'rejected', findings = %(findings)s::jsonb, number = NULL, seller_nip = NULL,
           kind = NULL, issue_date = NULL, ksef_number = NULL, acquired_at = NULL, invoicing_mode = NULL,
           duplicate_of = id WHERE id = %(id)s""",
        {"findings": json.dumps([finding]), "id": parse_public_id("inv", filled.invoices[0])},
    )
    (data,) = await _told(store, tenant, EventType.INVOICES_REJECTED, filled)
    event = _envelope("invoices.rejected", data)
    jsonschema.validate(event, json.loads(json_schema("invoices.rejected")))
    parsed = MODELS["invoices.rejected"].model_validate(event)
    assert json.loads(parsed.model_dump_json(exclude_unset=True))["data"]["invoices"][0]["findings"] == [finding]


@pytest.mark.parametrize("date_style", ["ISO", "German"])
async def test_the_text_of_an_invoice_in_an_event_is_its_document_byte_for_byte(store: Store, date_style: str) -> None:
    tenant = await _tenant(store)
    await fill(store, tenant, NOW)
    finding = Finding("schema", Severity.ERROR, 'bad "one"\n', "źle", raw="\\ \t \x1f").as_dict()
    async with store.database.transaction() as connection:
        await connection.execute(f"SET LOCAL datestyle = '{date_style}'")
        for change in (
            "state = state",
            "name = E'a\"b\\\\c\\n\\x07\\u2028é.xml', number = E'\\\\ \" / <&> ąę\\t', kind = 'KOR', findings = %(findings)s",
            "number = NULL, seller_nip = NULL, kind = NULL, issue_date = NULL, session_id = NULL, duplicate_of = id",
            "ksef_number = NULL, acquired_at = NULL, invoicing_mode = NULL, findings = '[]'",
            "acquired_at = '2026-11-22T10:00:09.9996+01:00', issue_date = '1999-12-31', invoicing_mode = ''",
        ):
            await connection.execute(f"UPDATE invoices SET {change}", {"findings": json.dumps([finding])})
            cursor = await connection.execute(
                "SELECT invoice_json_text(i) AS text, invoice_json(i)::text AS document FROM invoices i"
            )
            rows = await cursor.fetchall()
            assert rows
            assert [row["text"] for row in rows] == [row["document"] for row in rows]


async def test_documents_of_uploads_and_sessions_fit_their_models_field_by_field(store: Store) -> None:
    tenant = await _tenant(store)
    filled = await fill(store, tenant, NOW)
    upload = upload_json(await store.uploads.get(tenant.id, parse_public_id("upl", filled.upload)))
    session = session_json(
        await store.sessions.get(tenant.id, filled.session_id),
        parts=1,
        upo_pages=await store.sessions.upo_pages(tenant.id, filled.session_id),
    )
    upo = {"session": session["id"], "reference_number": session["reference_number"], "upo": session["upo"]}
    assert session["upo"]
    for event_type, model, data in (
        ("upload.completed", CompletedUpload, upload),
        ("session.completed", EndedSession, session),
        ("session.failed", EndedSession, session),
        ("upo.available", UpoData, upo),
    ):
        assert set(data) == set(model.model_fields)
        jsonschema.validate(_envelope(event_type, data), json.loads(json_schema(event_type)))
        MODELS[event_type].model_validate(_envelope(event_type, data))


async def test_a_page_of_large_events_ends_early_and_nothing_is_lost(store: Store) -> None:
    tenant = await _tenant(store)
    for number in range(5):
        # Random text, so that the stored bytes are as many as these.
        async with store.database.transaction() as connection:
            await connection.execute(
                """INSERT INTO events (id, tenant_id, type, created_at, data) SELECT gen_random_uuid(), %(tenant)s,
                   'webhook.test', %(now)s, jsonb_build_object('n', %(n)s::int, 'noise',
                   (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 6000)))""",
                {"tenant": tenant.id, "now": NOW, "n": number},
            )
    await events_are_visible(store)
    seen: list[int] = []
    after, more, pages = BEGINNING, True, 0
    while more:
        page = await store.feed.page(tenant.id, after=after)
        assert page.rows
        seen += [json.loads(row["data"])["n"] for row in page.rows]
        after, more, pages = page.cursor, page.more, pages + 1
    assert seen == [0, 1, 2, 3, 4]
    assert pages > 1


def _envelope(event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "evt_" + "0" * 32,
        "type": event_type,
        "timestamp": "2026-11-22T12:00:00.123Z",
        "tenant": "ten_" + "0" * 32,
        "data": data,
    }


def test_the_envelope_is_what_the_design_promises() -> None:
    assert list(Event.model_fields) == ["id", "type", "timestamp", "tenant", "data"]

"""Migrating a database of the last release that has rows in it: every row arrives, and secrets still open."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from app.clock import utc_now
from app.domain.states import UploadState
from app.settings import Settings
from app.store.blob_files import Segment
from app.store.migrate import migrate, newest_revision
from app.store.store import Store, open_store
from app.store.uploads.uploads import Upload
from tests.support.catalogue import catalogue
from tests.support.database import make_database
from tests.support.last_release import (
    CERTIFICATE,
    FACTS,
    MAIN,
    TOKEN,
    database_of_the_last_release,
    load_files,
)

KEPT = (
    "tenants", "api_keys", "uploads", "chunks", "invoices", "sessions", "parts", "session_history", "upo_pages", "claims",
    "events", "webhook_endpoints", "deliveries", "delivery_attempts", "webhook_replays", "resumable_uploads",
    "upload_segments", "ksef_numbers", "ksef_tokens",
)  # fmt: skip
"""Tables that hold data of tenants. Rows of the other tables can be fetched from KSeF or written again by a process."""


@pytest.fixture(scope="module")
def migrated_url(postgres_url: str) -> Iterator[str]:
    with database_of_the_last_release(postgres_url) as url:
        assert migrate(url) == newest_revision()
        yield url


@pytest.fixture
def old_settings(migrated_url: str, tmp_path: Path) -> Settings:
    load_files(tmp_path / "var")
    return Settings(data_dir=tmp_path / "var", database_url=migrated_url)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("table", KEPT)
def test_every_row_of_a_table_arrives(migrated_url: str, table: str) -> None:
    assert ask(migrated_url, f"SELECT count(*) FROM {table}") == [(FACTS["rows"][table],)]


@pytest.mark.parametrize("table", ["uploads", "invoices", "sessions", "deliveries"])
def test_every_row_keeps_its_state(migrated_url: str, table: str) -> None:
    states = FACTS["states"][table]
    assert len(states) > 2
    assert dict(ask(migrated_url, f"SELECT state, count(*) FROM {table} GROUP BY state")) == states


def test_the_schema_is_that_of_a_new_database(migrated_url: str, postgres_url: str) -> None:
    new, old = catalogue(make_database(postgres_url)), catalogue(migrated_url)
    assert {kind: sorted(new[kind] ^ old[kind]) for kind in new} == {kind: [] for kind in new}


def test_a_second_migration_changes_nothing(migrated_url: str) -> None:
    before = catalogue(migrated_url), everything(migrated_url)
    assert migrate(migrated_url) == newest_revision()
    assert (catalogue(migrated_url), everything(migrated_url)) == before


def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    tables = [table for (table,) in ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    return {table: ask(url, f"SELECT md5(t::text) FROM {table} t ORDER BY 1") for table in tables}


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("UPDATE uploads SET accepted = -1", errors.CheckViolation),
        ("UPDATE invoices SET state = 'odd'", errors.CheckViolation),
        ("UPDATE sessions SET state = 'odd'", errors.CheckViolation),
        ("UPDATE tenants SET nip = '123'", errors.CheckViolation),
        (f"UPDATE tenants SET nip = '{MAIN}'", errors.UniqueViolation),
        ("DELETE FROM tenants", errors.ForeignKeyViolation),
    ],
)
def test_constraints_hold_over_old_rows(migrated_url: str, change: str, refused: type[psycopg.Error]) -> None:
    with psycopg.connect(migrated_url) as connection, pytest.raises(refused):
        connection.execute(change)


async def test_credentials_of_each_kind_and_tokens_open(old_settings: Settings) -> None:
    async with open_store(old_settings) as store:
        assert (await credential(store, MAIN))[0] == "self_signed"
        kind, parts = await credential(store, CERTIFICATE)
        assert (kind, parts["certificate"][:27]) == ("certificate", "-----BEGIN CERTIFICATE-----")
        assert (await credential(store, TOKEN))[0] == "ksef_token"
        tokens = await store.tenants.load_tokens((await store.tenants.by_nip(MAIN)).id)
        assert tokens is not None
        assert "refresh" in json.dumps(json.loads(tokens))


async def credential(store: Store, nip: str) -> tuple[str, dict[str, str]]:
    return await store.tenants.credential((await store.tenants.by_nip(nip)).id)


async def test_keys_of_sessions_and_links_of_parts_open(old_settings: Settings) -> None:
    keys, links = 0, 0
    async with open_store(old_settings) as store:
        for tenant in await store.tenants.all():
            for session in await store.sessions.page(tenant.id, before=None, state=None, limit=100):
                targets = await store.dispatch.upload_targets(session.id)
                links += len(targets)
                assert all(target["url"].startswith("http") for target in targets.values())
                if not session.state.is_final:
                    keys += 1
                    assert len(await store.packages.encryption_key(session.id)) == 32
    assert keys >= 4
    assert links >= 1


async def test_secrets_of_webhooks_open(old_settings: Settings) -> None:
    async with open_store(old_settings) as store:
        tenant = await store.tenants.by_nip(MAIN)
        endpoints = await store.webhooks.endpoints(tenant.id)
        assert len(endpoints) == 3
        for endpoint in endpoints:
            # A rotation reads the keys in force, to let them overlap with the new one.
            assert await store.webhooks.rotate(tenant.id, endpoint.id, now=utc_now())


async def test_an_unfinished_upload_in_pieces_goes_on_from_where_it_stopped(old_settings: Settings) -> None:
    now = datetime.fromisoformat(FACTS["made_at"])
    async with open_store(old_settings) as store:
        tenant = await store.tenants.by_nip(CERTIFICATE)
        [begun] = [one for one in await store.resumable.page(tenant.id, before=None, limit=100) if one.offset]
        uploads = await store.uploads.page(tenant.id, before=None, limit=100)
        # The same body came whole beside it.
        [whole] = [upload for upload in uploads if upload.segmented and upload.size == begun.size]
        [segment] = await store.resumable.segments_for_job(whole.id)
        body = await store.blobs.read(segment.blob_key)
        writer = uuid4()
        going = await store.resumable.begin(tenant.id, begun.id, offset=begun.offset, size=None, writer=writer)
        await store.blobs.put("uploads/rest", body[begun.offset :])
        rest = Segment(begun.offset, len(body) - begun.offset, "uploads/rest")
        upload = await store.resumable.add(going, rest, writer=writer, now=now)
        assert isinstance(upload, Upload)
        assert (upload.state, upload.size) == (UploadState.RECEIVED, len(body))
        pieces = [await store.blobs.read(one.blob_key) for one in await store.resumable.segments_for_job(begun.id)]
        assert b"".join(pieces) == body


async def test_the_totals_begin_with_what_was_there(old_settings: Settings) -> None:
    async with open_store(old_settings) as store:
        assert await store.invoices.state_counts() == FACTS["states"]["invoices"]


def test_the_old_name_of_a_rule_is_replaced_in_findings_and_events(postgres_url: str) -> None:
    other = '[{"rule": "xsd-bad-value"}, {"rule": "duplicate_other", "severity": "error"}]'
    with database_of_the_last_release(postgres_url) as url:
        with psycopg.connect(url) as connection:
            (kept,) = connection.execute(
                "SELECT id FROM invoices WHERE state = 'rejected' ORDER BY id LIMIT 1"
            ).fetchall()
            connection.execute("UPDATE invoices SET findings = %s::jsonb WHERE id = %s", (other, kept[0]))
            (event,) = connection.execute("SELECT id FROM events WHERE type = 'invoices.rejected' LIMIT 1").fetchall()
            data = '{"invoices": [{"findings": ' + other + "}]}"
            connection.execute("UPDATE events SET data = %s WHERE id = %s", (data, event[0]))
        migrate(url)
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT findings FROM invoices WHERE id = %s", kept).fetchone()
            told = connection.execute("SELECT data FROM events WHERE id = %s", event).fetchone()
    assert found is not None
    assert told is not None
    assert [one["rule"] for one in found[0]] == ["xsd-bad-value", "duplicate-other"]
    assert [one["rule"] for one in json.loads(told[0])["invoices"][0]["findings"]] == [
        "xsd-bad-value",
        "duplicate-other",
    ]

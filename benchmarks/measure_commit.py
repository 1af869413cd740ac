"""Measurement of commits of checked chunks, compared with PostgreSQL's COPY of the same rows into the same indexes."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from app.checking.check_chunk import ChunkTask, check_chunk, prepare
from app.clock import utc_now, warsaw_day
from app.domain.ids import chunk_id
from app.forms.fa3.form import FA3
from app.forms.form import CheckContext
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.installation import prepare_installation
from app.store.store import open_store
from app.store.uploads.chunks import CheckedChunk
from benchmarks.measure import Figure, Say, Scale, Yardstick
from benchmarks.measure_cargo import NIP, fresh_invoices
from benchmarks.measure_packing import add_tenant, add_upload
from benchmarks.measure_stages import raw_entries
from workers.intake.chunks import CHUNK_ENTRIES

_COLUMNS: Final = """id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size,
    crc32, blob_offset, blob_bytes, findings, finished_at"""


def measure_commit(scale: Scale, say: Say) -> list[Figure]:
    """Measure rows a second of our commit (rows, claims, queue, checkpoint) and of COPY alone, one chunk after the other."""
    count = min(scale.count, 20_000)
    say(f"commit: checking {count:,} invoices")
    with TemporaryDirectory(prefix="ksefd-bench-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "var"
        with EmbeddedPostgres(data) as server:
            settings = Settings(data_dir=data, database_url=server.url)
            prepare_installation(settings)
            ours, bare = asyncio.run(_measure(settings, count))
    return [
        Figure(
            "commit", f"chunks of {CHUNK_ENTRIES} committed: rows, claims, queue and checkpoint", count / ours, "rows/s",
            Yardstick("COPY of the same rows, same indexes, one transaction a chunk", count / bare, "rows/s"),
        )
    ]  # fmt: skip


async def _measure(settings: Settings, count: int) -> tuple[float, float]:
    prepare(load_schema_files())
    now = utc_now()
    made = fresh_invoices(count, seed=71)
    ours = bare = 0.0
    async with open_store(settings) as store:
        tenant = await add_tenant(store)
        upload = await add_upload(store, tenant, made[:1])
        lane = await store.tenants.ensure_lane(tenant, form_code=FA3.code, offline_mode=False)
        await store.database.execute("CREATE TABLE bare_invoices (LIKE invoices INCLUDING ALL)", {})
        context = CheckContext(NIP, warsaw_day(now), check_nip_checksums=False, attachments_allowed=None)
        for number, start in enumerate(range(0, count, CHUNK_ENTRIES)):
            key = chunk_id(int(now.timestamp() * 1000) + number, number.to_bytes(10, "big"))
            entries = raw_entries(made[start : start + CHUNK_ENTRIES])
            [checked] = check_chunk(ChunkTask(tenant.id, (upload.id,), key, entries, context, now)).forms
            began = time.perf_counter()
            async with (
                store.database.transaction() as connection,
                connection.cursor().copy(f"COPY bare_invoices ({_COLUMNS}) FROM STDIN") as copy,
            ):
                await copy.write(checked.rows)
            bare += time.perf_counter() - began
            began = time.perf_counter()
            await store.chunks.commit(
                upload,
                [
                    CheckedChunk(
                        id=key,
                        lane_id=lane,
                        first_entry=start,
                        blob_key=f"chunks/{key.hex}",
                        rows=checked.rows,
                        queued=checked.valid,
                        ready_bytes=checked.valid_bytes,
                        invalid=checked.invalid,
                        latest_issue_date=checked.latest_issue_date,
                    )
                ],
                next_entry=start + len(entries),
                now=now,
            )
            ours += time.perf_counter() - began
    return ours, bare

"""A document that ends, hangs or fills its process gets the same finding by every door, and its neighbours are checked."""

import asyncio
import json
from pathlib import Path

import pytest

from app.api.intake import validation_pool
from app.checking.service import CheckService
from app.cli.actions import validate as command
from app.domain.ids import parse_public_id
from app.settings import Settings
from app.store.store import Store
from invoicegen.invoices import GeneratedInvoice
from tests.app.api.conftest import Caller
from tests.app.cli.conftest import Ksefd
from tests.support.poison import POISONS, load_poisoned_schema, poisoned
from tests.support.road import invoices, zip_of
from workers.intake import singles
from workers.intake.uploads import read_upload
from workers.runtime import worker_context

XML = {"Content-Type": "application/xml"}
FINDING = {
    "rule": "document-crashes-reader",
    "severity": "error",
    "message": "This document crashes or hangs the XML reader, so it cannot be checked and is not sent.",
    "message_pl": "Ten dokument powoduje awarię lub zawieszenie czytnika XML; nie można go sprawdzić i nie zostanie wysłany.",
    "line": None,
    "path": None,
}
OF_SOME = {"raw", "ksef_number", "session_reference"}


@pytest.fixture(autouse=True)
def _poisoned_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the processes of the API and of the command obey the markers of `tests.support.poison`."""
    monkeypatch.setattr(validation_pool, "schema_loader", lambda _settings: load_poisoned_schema)
    monkeypatch.setattr(command, "schema_loader", lambda _settings: load_poisoned_schema)


@pytest.mark.slow
async def test_the_finding_is_the_same_by_every_door(
    alpha: Caller, settings: Settings, store: Store, ksefd: Ksefd, tmp_path: Path
) -> None:
    good, *neighbours = invoices(3, nip=alpha.tenant.nip)
    documents = {f"{name}.xml": poisoned(good.xml, poison) for name, poison in POISONS.items()}
    archive = zip_of(
        [*(GeneratedInvoice(good.number, name, xml, good.kind) for name, xml in documents.items()), *neighbours]
    )
    upload = await alpha.http.post("/v1/uploads", content=archive, headers={"Content-Type": "application/zip"})
    assert upload.status_code == 202
    singles_posted = {
        name: await alpha.http.post("/v1/invoices", content=xml, headers=XML) for name, xml in documents.items()
    }
    with CheckService(1, load_poisoned_schema) as pool:
        async with worker_context(settings, store, pool) as context:
            await read_upload(context, parse_public_id("upl", upload.json()["id"]))
            await singles.check_singles(context, alpha.tenant.id)
    of_upload = (await alpha.http.get("/v1/invoices", params={"upload": upload.json()["id"]})).json()["items"]
    assert {one["name"]: one["state"] for one in of_upload} == dict.fromkeys(documents, "invalid") | {
        neighbour.name: "queued" for neighbour in neighbours
    }

    (tmp_path / "in").mkdir()
    for name, xml in documents.items():
        (tmp_path / "in" / name).write_bytes(xml)
    for neighbour in neighbours:
        (tmp_path / "in" / neighbour.name).write_bytes(neighbour.xml)
    # In a thread, because the command runs an event loop of its own. The API logs on the same standard output.
    ran = await asyncio.to_thread(ksefd, "validate", str(tmp_path / "in"), "--nip", alpha.tenant.nip, "--json")
    of_command = json.loads(ran.out.splitlines()[-1])
    assert (of_command["checked"], of_command["valid"], of_command["invalid"]) == (5, 2, 3)

    for name, xml in documents.items():
        strict = await alpha.http.post("/v1/invoices", content=xml, headers=XML | {"Prefer": "handling=strict"})
        assert (strict.status_code, strict.json()["code"]) == (422, "invalid-invoice")
        dry_run = await alpha.http.post("/v1/validate", content=xml, headers=XML)
        assert (dry_run.status_code, dry_run.json()["valid"]) == (200, False)
        single = (await alpha.http.get(singles_posted[name].json()["links"]["self"])).json()
        assert single["state"] == "invalid"
        by_door = {
            "upload": next(one["findings"] for one in of_upload if one["name"] == name),
            "single post": single["findings"],
            "strict single post": strict.json()["errors"],
            # The shape of a dry run has the fields that only some findings have, also where they are null.
            "dry run": [
                {key: value for key, value in one.items() if key not in OF_SOME or value is not None}
                for one in dry_run.json()["findings"]
            ],
            "ksefd validate": next(one["findings"] for one in of_command["documents"] if one["name"] == name),
        }
        assert by_door == {door: [FINDING] for door in by_door}, name

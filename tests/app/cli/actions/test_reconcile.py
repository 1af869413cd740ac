"""`ksefd reconcile`: what KSeF has and the installation does not know of."""

from datetime import UTC, datetime

from app.cli.actions.accounts import in_store
from app.settings import Settings
from app.store.store import Store
from tests.app.api.filled_store import SELLER, fill
from tests.app.cli.conftest import Ksefd
from tests.support.ksef_by_hand import HandClient, invoice
from tests.support.sandbox_process import running_sandbox


def test_what_ksef_has_is_accepted_and_printed(on_database: Ksefd, settings: Settings) -> None:
    on_database("tenant", "add", SELLER, "--name", "Firma", "--self-signed")
    document = invoice("R/1", SELLER)

    async def queued(store: Store) -> str:
        tenant = await store.tenants.by_nip(SELLER)
        filled = await fill(store, tenant, datetime.now(UTC), count=1, finish=False)
        await store.database.execute(
            "UPDATE invoices SET state = 'queued', session_id = NULL, sha256 = sha256(%(xml)s)", {"xml": document}
        )
        await store.database.execute("UPDATE uploads SET packed = 0, queued = 1")
        return filled.invoices[0]

    async def states(store: Store) -> list[str]:
        return [row["state"] for row in await store.database.fetch_all("SELECT state FROM invoices")]

    mine = in_store(settings, queued)
    with running_sandbox(validate="off") as sandbox:
        client = HandClient(sandbox.base_url, SELLER).login()
        client.send_documents({"a.xml": document})
        client.close()
        dry = on_database("reconcile", SELLER, "--dry-run", "--json", ksef_url=sandbox.base_url)
        assert dry.code == 0, dry.err
        assert in_store(settings, states) == ["queued"]
        ran = on_database("reconcile", "--json", ksef_url=sandbox.base_url)
        again = on_database("reconcile", ksef_url=sandbox.base_url)
    assert (dry.json["dry_run"], ran.json["dry_run"]) == (True, False)
    assert dry.json["tenants"][0]["changes"] == ran.json["tenants"][0]["changes"]
    (change,) = ran.json["tenants"][0]["changes"]
    assert (change["invoice"], change["before"], change["after"]) == (mine, "queued", "accepted")
    assert change["ksef_number"].startswith(SELLER)
    assert in_store(settings, states) == ["accepted"]
    assert "1 tenants compared with KSeF, 0 invoices accepted" in again.out


def test_an_unknown_tenant_and_a_wrong_time_are_refused(on_database: Ksefd) -> None:
    assert on_database("reconcile", "5265877635").code != 0
    assert on_database("reconcile", "--since", "yesterday").code == 2

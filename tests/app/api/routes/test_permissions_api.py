"""What KSeF said of a tenant's permissions and limits, in the answers of the API."""

from datetime import timedelta

from app.ksef.limits import ContextLimits, RateLimits
from app.ksef.permissions import AttachmentConsent
from app.store.store import Store
from invoicegen.invoices import generate_invoices
from tests.app.api.conftest import Caller, MovableClock

ATTACHMENT = (
    b"<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)
XML = {"Content-Type": "application/xml"}


def _invoice(caller: Caller, clock: MovableClock) -> bytes:
    (made,) = generate_invoices(1, seller_nip=caller.tenant.nip, issue_date=clock().date(), seed=1, attachments=False)
    return made.xml.replace(b"</Faktura>", ATTACHMENT + b"</Faktura>")


async def _rules(caller: Caller, document: bytes) -> list[str]:
    answer = await caller.http.post("/v1/validate", content=document, headers=XML)
    return [finding["rule"] for finding in answer.json()["findings"]]


async def test_a_dry_run_and_a_strict_post_know_whether_attachments_are_allowed(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    document = _invoice(alpha, clock)
    assert await _rules(alpha, document) == []
    assert (await alpha.http.get("/v1/me")).json()["attachments"] == {
        "allowed": None,
        "ends_at": None,
        "reason": None,
        "checked_at": None,
    }
    await store.permissions.save(alpha.tenant.id, AttachmentConsent(False, None), now=clock())
    assert await _rules(alpha, document) == ["attachment-not-allowed"]
    strict = await alpha.http.post("/v1/invoices", content=document, headers=XML | {"Prefer": "handling=strict"})
    assert (strict.status_code, strict.json()["errors"][0]["rule"]) == (422, "attachment-not-allowed")
    assert (await alpha.http.get("/v1/me")).json()["attachments"]["allowed"] is False
    assert (await beta.http.get("/v1/me")).json()["attachments"]["allowed"] is None
    # A strict post that was refused for it has KSeF asked again.
    assert alpha.tenant.id in await store.permissions.due_for_job(now=clock() + timedelta(hours=1), limit=10)


async def test_a_dry_run_knows_the_limits_that_ksef_gave_the_tenant(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    document = _invoice(alpha, clock).replace(ATTACHMENT, b"<!--" + b"x" * 1_100_000 + b"-->")
    assert await _rules(alpha, document) == ["too-large-without-attachment"]
    await store.limits.save(alpha.tenant.id, RateLimits({}), ContextLimits(10_000, 2_000_000, 4_000_000), now=clock())
    assert await _rules(alpha, document) == []
    assert (await alpha.http.get("/v1/me")).json()["limits"]["max_invoice_bytes"] == 4_000_000

"""`ksefd reconcile`: accepts the invoices that KSeF has accepted and our records do not have as accepted."""

from datetime import datetime, timedelta
from typing import Any, Final

from app.checking.service import CheckService
from app.cli.actions.accounts import in_store
from app.cli.output import print_json, stdout_console
from app.cli.tables import print_table
from app.cli.timestamps import parse_time
from app.clock import utc_now
from app.domain.ids import public_id
from app.observability.logs import configure_logging
from app.schema_files import load_schema_files
from app.settings import load_settings
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from workers.reconciling import Change, reconcile
from workers.runtime import worker_context

_DEFAULT: Final = timedelta(days=7)


def reconcile_tenants(nip: str | None, *, since: str | None, dry_run: bool, as_json: bool) -> None:
    """Reconcile one tenant or all, waiting for quota, and print what changed."""
    settings = load_settings()
    # Warnings of the stages go to standard error, so that JSON stays alone on standard output.
    configure_logging(settings)
    start = parse_time(since, option="--since", now=utc_now()) if since is not None else None

    async def work(store: Store) -> list[tuple[Tenant, datetime, list[Change]]]:
        chosen = [await store.tenants.by_nip(nip)] if nip else await store.tenants.all()
        done = []
        # The pool is not started: nothing is checked here.
        async with worker_context(settings, store, CheckService(1, load_schema_files)) as context:
            for tenant in chosen:
                if tenant.disabled_at is None or nip:
                    moment = start or tenant.reconcile_since or utc_now() - _DEFAULT
                    changes = await reconcile(context, tenant, moment, dry_run=dry_run, patient=True)
                    done.append((tenant, moment, changes))
        return done

    done = in_store(settings, work)
    if as_json:
        print_json({"dry_run": dry_run, "tenants": [_shape(*one) for one in done]})
        return
    rows = [
        (tenant.nip, public_id("inv", one.invoice_id), one.number or "", one.before.value, one.ksef_number)
        for tenant, _, changes in done
        for one in changes
    ]
    console = stdout_console()
    if rows:
        print_table(console, ("NIP", "Invoice", "Number", "Was", "KSeF number"), rows)
    would = "would be accepted" if dry_run else "accepted"
    console.print(f"{len(done)} tenants compared with KSeF, {len(rows)} invoices {would}")


def _shape(tenant: Tenant, since: datetime, changes: list[Change]) -> dict[str, Any]:
    return {
        "nip": tenant.nip,
        "since": since,
        "changes": [
            {
                "invoice": public_id("inv", one.invoice_id),
                "number": one.number,
                "before": one.before.value,
                "after": "accepted",
                "ksef_number": one.ksef_number,
                "session_reference": one.session_reference,
            }
            for one in changes
        ],
    }

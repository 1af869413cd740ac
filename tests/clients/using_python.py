"""What a user of a generated Python client writes: upload, list, create a webhook."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

# The package is generated; `make clients` puts it on the path.
from ksef_dispatch_client import AuthenticatedClient
from ksef_dispatch_client.api.invoices import (
    create_invoice,
    get_invoice,
    get_invoice_upo,
    get_invoice_xml,
    list_invoices,
)
from ksef_dispatch_client.api.sessions import get_session_upo
from ksef_dispatch_client.api.uploads import create_upload, get_upload
from ksef_dispatch_client.api.webhooks import create_webhook
from ksef_dispatch_client.models import CreateUploadFilesBody, EventType, InvoiceState, NewWebhook, Problem
from ksef_dispatch_client.types import File


def use(address: str, key: str, archive: bytes, single: bytes) -> dict[str, Any]:
    """Use the client as an ERP would, and return what it saw."""
    with AuthenticatedClient(base_url=address, token=key, timeout=60) as client:
        form = CreateUploadFilesBody(file=[File(io.BytesIO(archive), "invoices.zip", "application/zip")])
        upload = create_upload.sync(client=client, body=form, flush=True, reference="python")
        ends = time.monotonic() + 60
        while upload.completed_at is None and time.monotonic() < ends:
            time.sleep(0.2)
            upload = get_upload.sync(upload.id, client=client)
        page = list_invoices.sync(client=client, upload=upload.id, state=[InvoiceState.ACCEPTED], limit=10)
        first = page.items[0]
        xml = get_invoice_xml.sync(first.id, client=client)
        receipt = get_invoice_upo.sync(first.id, client=client)
        whole = get_session_upo.sync(first.session, client=client)
        posted = create_invoice.sync(client=client, body=File(io.BytesIO(single)), prefer="handling=strict")
        wanted = NewWebhook(url="http://127.0.0.1:9/ksef", events=[EventType.INVOICES_ACCEPTED])
        webhook = create_webhook.sync(client=client, body=wanted)
        missing = get_invoice.sync("inv_" + "0" * 32, client=client)
    return {
        "state": upload.state,
        "accepted": upload.counts["accepted"],
        "listed": len(page.items),
        "xml": b"<Faktura" in xml.payload.read(),
        "receipt": whole.payload.read() == receipt.payload.read(),
        "posted": posted.id[:4],
        "secret": webhook.secret[:6],
        "problem": missing.code if isinstance(missing, Problem) else missing,
    }


if __name__ == "__main__":
    address, key, archive, single = sys.argv[1:]
    print(json.dumps(use(address, key, Path(archive).read_bytes(), Path(single).read_bytes())))

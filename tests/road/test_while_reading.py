"""A large upload on its way through the pool keeps nobody else from being served."""

import io
from collections.abc import Iterator

from app.clock import utc_now, warsaw_day
from invoicegen.invoices import GeneratedInvoice, generate_invoices, write_ndjson
from tests.road.proofs import NDJSON, accepted_by_ksef, invoices, seller_nip
from tests.support.sandbox_process import SandboxHandle
from tests.support.service_process import ServiceHandle, wait_for

_BODY_BYTES = 60_000_000
_PIECE = 20


def test_requests_are_answered_while_a_large_upload_is_read(
    calm_service: ServiceHandle, sandbox: SandboxHandle
) -> None:
    large = calm_service.add_tenant(seller_nip())
    small = calm_service.add_tenant(seller_nip())
    body = _LargeBody(large.nip)
    upload = large.upload(iter(body), NDJSON)
    assert upload["bytes"] > _BODY_BYTES

    documents = invoices(40, nip=small.nip)
    ids: list[str] = []
    answered_while_reading = 0
    for document in documents:
        state = large.get(f"/v1/uploads/{upload['id']}")["state"]
        answer = small.request(
            "POST", "/v1/invoices", content=document.xml, headers={"Content-Type": "application/xml"}
        )
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
        assert small.request("GET", "/livez").status_code == 200
        assert small.request("GET", "/readyz").status_code == 200
        assert small.request("GET", "/metrics").status_code == 200
        answered_while_reading += state in {"received", "reading"}
    assert answered_while_reading > 0

    wait_for(
        lambda: all(small.get(f"/v1/invoices/{one}")["state"] == "accepted" for one in ids),
        what="the acceptance of the single posts",
    )
    done = large.wait_until_done(upload["id"], seconds=150)
    assert done["counts"] == {"accepted": body.count}
    assert len(accepted_by_ksef(sandbox, large.nip)) == body.count
    assert len(accepted_by_ksef(sandbox, small.nip)) == len(documents)


class _LargeBody:
    """Large invoices as NDJSON, made as they are sent; `count` grows with them."""

    def __init__(self, nip: str) -> None:
        self._nip = nip
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        while sent < _BODY_BYTES:
            piece = self._piece()
            self.count += len(piece)
            target = io.BytesIO()
            write_ndjson(target, piece)
            sent += target.tell()
            yield target.getvalue()

    def _piece(self) -> list[GeneratedInvoice]:
        return list(
            generate_invoices(
                _PIECE,
                seller_nip=self._nip,
                issue_date=warsaw_day(utc_now()),
                start=self.count,
                profile="large",
                attachments=False,
            )
        )

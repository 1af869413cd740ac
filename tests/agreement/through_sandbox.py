"""Documents through the real processing of a sandbox: a process of its own, sessions, packages, receipts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime

import httpx
from lxml import etree

from tests.agreement.comparing import Mode, Opinion
from tests.agreement.header_mutations import CONSENTING, TENANT
from tests.agreement.making import Case
from tests.support.ksef_by_hand import HandClient, Package, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox

MAX_DOCUMENTS = 10_000
MAX_BYTES = 200_000_000
_SECONDS = 900.0


class Sandbox:
    """A running sandbox in which the tenant is logged in and time stands still."""

    def __init__(self, handle: SandboxHandle, mode: Mode, day: date) -> None:
        self._client = HandClient(handle.base_url, TENANT)
        with httpx.Client(base_url=handle.control_url) as control:
            for kind in ("SelfInvoicing", "TaxRepresentative"):
                body = {"seller_nip": CONSENTING, "nip": TENANT, "kind": kind}
                control.post("/authorizations", json=body).raise_for_status()
            for nip in (TENANT, CONSENTING) if mode.attachments else ():
                control.post("/attachments", json={"nip": nip, "allowed": True}).raise_for_status()
            enforcing = {"subjectNip": TENANT, "subjectType": "EnforcementAuthority", "description": "agreement"}
            self._client.http.post("/testdata/subject", json=enforcing).raise_for_status()
            self._client.login()
            # Only now: certificates are made by the machine's clock. A token does not mind a time before its own.
            noon = datetime(day.year, day.month, day.day, 11, tzinfo=UTC).isoformat()
            control.post("/clock", json={"freeze": True, "set": noon}).raise_for_status()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def opinions(self, cases: Sequence[Case]) -> dict[str, Opinion]:
        """What became of each document, by its name; they go in as many sessions as they need."""
        found: dict[str, Opinion] = {}
        for some in _sessions(cases):
            package = Package(zip_package({case.name: case.document for case in some}))
            opened = self._client.open(self._client.open_body(package))
            self._client.upload(opened, package)
            reference = opened["referenceNumber"]
            closed = self._client.close_session(reference)
            assert closed.status_code == 204, closed.text
            status = self._client.final_status(reference, _SECONDS)
            read = self._receipts(status)
            for item in self._client.invoices(reference):
                details = tuple(item["status"].get("details") or ())
                identity = read.get(item.get("ksefNumber") or "")
                found[item["invoiceFileName"]] = Opinion(item["status"]["code"], details, identity)
        assert found.keys() == {case.name for case in cases}
        return found

    def _receipts(self, status: dict[str, object]) -> dict[str, tuple[str, str]]:
        """Seller and number as the receipt has them, by KSeF number."""
        upo = status.get("upo")
        read = {}
        for page in upo["pages"] if isinstance(upo, dict) else ():
            root = etree.fromstring(httpx.get(page["downloadUrl"]).content)
            for one in root.iter("{*}Dokument"):
                texts = (one.findtext(f"{{*}}{name}") or "" for name in ("NipSprzedawcy", "NumerFaktury"))
                read[one.findtext("{*}NumerKSeFDokumentu") or ""] = (next(texts), next(texts))
        return read


@contextmanager
def judging_sandbox(mode: Mode, day: date) -> Iterator[Sandbox]:
    """A sandbox set to a mode on a day, until the context ends."""
    with running_sandbox(max_invoices=MAX_DOCUMENTS, enforce_identifiers=mode.identifiers) as handle:
        sandbox = Sandbox(handle, mode, day)
        try:
            yield sandbox
        finally:
            sandbox.close()


def _sessions(cases: Sequence[Case]) -> Iterator[list[Case]]:
    some: list[Case] = []
    size = 0
    for case in cases:
        if some and (len(some) == MAX_DOCUMENTS or size + len(case.document) > MAX_BYTES):
            yield some
            some, size = [], 0
        some.append(case)
        size += len(case.document)
    if some:
        yield some

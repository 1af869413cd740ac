"""Checks of the demo: compare the invoices sent with our API, the UPOs, the sandbox's ledger and the webhooks."""

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.cli.demo.invoices import DemoInvoices
from app.cli.demo.receiver import Receiver
from app.domain.ksef_number import is_valid_ksef_number
from app.domain.states import InvoiceState
from app.ksef.upo.reader import parse_upo

# The reader stops an invoice above the hard limit before the checker gets it, so either of two rules may name it.
_SAME_RULE: Final = {"too-large": {"too-large", "entry-too-large"}}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: its name, whether it passed, and the figures."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class BadInvoiceResult:
    """A bad invoice with its known fault and the service's verdict."""

    name: str
    why: str
    expected: str
    state: str
    rules: tuple[str, ...]
    message: str

    @property
    def ok(self) -> bool:
        """Whether the service refused the invoice, and for its known fault."""
        wanted = _SAME_RULE.get(self.expected, {self.expected})
        return self.state == InvoiceState.INVALID and bool(wanted & set(self.rules))


class Verdicts:
    """The service's verdicts, read from the results stream."""

    def __init__(self, invoices: DemoInvoices, results: Iterable[dict[str, Any]]) -> None:
        self._invoices = invoices
        bad = {one.name: one for one in invoices.bad}
        self.numbers: dict[str, str] = {}
        """KSeF numbers by SHA-256 in hex, of the valid invoices."""
        self.ids: dict[str, str] = {}
        """KSeF numbers by invoice id."""
        self.sample: str | None = None
        """The id of one accepted invoice."""
        self.bad_results: list[BadInvoiceResult] = []
        self.odd: list[str] = []
        for one in results:
            if one["name"] in bad:
                self.bad_results.append(_bad_result(one, bad[one["name"]].why, bad[one["name"]].rule))
            elif one["state"] == InvoiceState.ACCEPTED and one["sha256"] in invoices.sent_names:
                self.numbers[one["sha256"]] = one["ksef_number"]
                self.ids[one["id"]] = one["ksef_number"]
                self.sample = self.sample or one["id"]
            else:
                self.odd.append(f"{one['name']} is {one['state']}")
        self.bad_results.sort(key=lambda result: result.name)

    def check_valid(self) -> Check:
        """Check that every valid invoice has a KSeF number of its own, with the right check digits."""
        wrong = sum(not is_valid_ksef_number(number) for number in self.numbers.values())
        distinct = len(set(self.numbers.values()))
        ok = (
            self.numbers.keys() == self._invoices.sent_names.keys()
            and distinct == len(self.numbers) == self._invoices.count
            and not wrong
            and not self.odd
        )
        detail = f"{len(self.numbers):,} of {self._invoices.count:,} accepted, {distinct:,} different numbers"
        return Check("every valid invoice has its own KSeF number", ok, detail + _first(self.odd))

    def check_bad(self) -> Check:
        """Check that every bad invoice was refused for its known fault."""
        wrong = [f"{one.name}: {one.state} {', '.join(one.rules)}" for one in self.bad_results if not one.ok]
        good = len(self.bad_results) - len(wrong)
        ok = not wrong and len(self.bad_results) == len(self._invoices.bad)
        return Check(
            "every bad invoice is refused for its fault", ok, f"{good} of {len(self._invoices.bad)}{_first(wrong)}"
        )


def check_upos(files: Iterable[Path], invoices: DemoInvoices, verdicts: Verdicts) -> Check:
    """Check that the receipts on disk name every valid invoice once, with the KSeF number that the API gives."""
    listed: dict[str, str] = {}
    pages = repeated = foreign = 0
    for path in files:
        pages += 1
        with path.open("rb") as file:
            for document in parse_upo(file).documents:
                digest = document.invoice_hash.hex()
                repeated += digest in listed
                foreign += document.seller_nip != invoices.seller_nip
                listed[digest] = document.ksef_number
    ok = listed == verdicts.numbers and len(listed) == invoices.count and not repeated and not foreign
    detail = f"{len(listed):,} invoices on {pages} page{'s' * (pages != 1)}"
    return Check("the UPOs on disk match what was sent, one to one", ok, detail)


def check_ledger(
    ledger: dict[str, Any], rows: Iterable[dict[str, Any]], invoices: DemoInvoices, verdicts: Verdicts
) -> Check:
    """Check that the sandbox accepted every invoice once and got none twice. Hashes of `rows` are Base64."""
    known = {_hex(row["invoice_hash"]): row["ksef_number"] for row in rows}
    accepted, distinct, repeated = ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]
    ok = accepted == distinct == invoices.count and repeated == 0 and known == verdicts.numbers
    detail = f"{accepted:,} accepted, {distinct:,} distinct, {repeated:,} sent twice"
    return Check("KSeF's ledger has each invoice exactly once", ok, detail)


def check_webhooks(receiver: Receiver, verdicts: Verdicts, sessions: int) -> Check:
    """Check that every delivery was verified, and that together they announce every KSeF number."""
    complete = receiver.invoices == verdicts.ids
    ended = receiver.types["session.completed"] == sessions
    ok = bool(receiver.verified) and not receiver.refused and complete and ended
    detail = (
        f"{receiver.verified} deliveries verified, {len(receiver.refused)} refused, "
        f"{len(receiver.invoices):,} invoices announced"
    )
    return Check("webhooks are signed and announce every invoice", ok, detail + _first(receiver.refused))


def check_forgery(receiver: Receiver) -> Check:
    """Check that the receiver refuses a changed delivery."""
    ok = receiver.refuses_forgery()
    return Check("a delivery with one changed byte is refused", ok, "refused" if ok else "believed")


def _bad_result(result: dict[str, Any], why: str, expected: str) -> BadInvoiceResult:
    findings = [one for one in result.get("findings") or [] if one.get("severity") == "error"]
    rules = tuple(one["rule"] for one in findings)
    # Prefer the finding of the known fault: a bad invoice often breaks further rules.
    named = next((one for one in findings if one["rule"] in _SAME_RULE.get(expected, {expected})), None)
    message = (named or (findings[0] if findings else {})).get("message", "")
    return BadInvoiceResult(result["name"], why, expected, result["state"], rules, message)


def _hex(digest: str) -> str:
    return b64decode(digest).hex()


def _first(complaints: list[str]) -> str:
    return f"; first: {complaints[0]}" if complaints else ""

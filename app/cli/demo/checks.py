"""What was sent against what every side says about it: our API, the UPOs, KSeF's ledger, the webhooks."""

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

# A document above the hard limit is stopped by the reader before the checker sees it; either may name it.
_SAME_RULE: Final = {"too-large": {"too-large", "entry-too-large"}}


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: whether it was kept, and the figures."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bad invoice: what was wrong with it, and what the service said."""

    name: str
    why: str
    expected: str
    state: str
    rules: tuple[str, ...]
    message: str

    @property
    def ok(self) -> bool:
        """It was refused, and for the reason for which it is bad."""
        wanted = _SAME_RULE.get(self.expected, {self.expected})
        return self.state == InvoiceState.INVALID and bool(wanted & set(self.rules))


class Verdicts:
    """The service's own verdicts, read from the results stream."""

    def __init__(self, cargo: DemoInvoices, results: Iterable[dict[str, Any]]) -> None:
        self._cargo = cargo
        bad = {one.name: one for one in cargo.bad}
        self.numbers: dict[str, str] = {}
        """KSeF numbers by SHA-256 in hex, of the valid invoices."""
        self.ids: dict[str, str] = {}
        """KSeF numbers by invoice id."""
        self.sample: str | None = None
        """The id of one accepted invoice."""
        self.refusals: list[Refusal] = []
        self.odd: list[str] = []
        for one in results:
            if one["name"] in bad:
                self.refusals.append(_refusal(one, bad[one["name"]].why, bad[one["name"]].rule))
            elif one["state"] == InvoiceState.ACCEPTED and one["sha256"] in cargo.sent_names:
                self.numbers[one["sha256"]] = one["ksef_number"]
                self.ids[one["id"]] = one["ksef_number"]
                self.sample = self.sample or one["id"]
            else:
                self.odd.append(f"{one['name']} is {one['state']}")
        self.refusals.sort(key=lambda refusal: refusal.name)

    def check_valid(self) -> Check:
        """Every valid invoice has a KSeF number of its own, with the right check digits."""
        wrong = sum(not is_valid_ksef_number(number) for number in self.numbers.values())
        distinct = len(set(self.numbers.values()))
        ok = (
            self.numbers.keys() == self._cargo.sent_names.keys()
            and distinct == len(self.numbers) == self._cargo.count
            and not wrong
            and not self.odd
        )
        told = f"{len(self.numbers):,} of {self._cargo.count:,} accepted, {distinct:,} different numbers"
        return Check("every valid invoice has its own KSeF number", ok, told + _first(self.odd))

    def check_bad(self) -> Check:
        """Every bad invoice was refused for what is wrong with it."""
        wrong = [f"{one.name}: {one.state} {', '.join(one.rules)}" for one in self.refusals if not one.ok]
        good = len(self.refusals) - len(wrong)
        ok = not wrong and len(self.refusals) == len(self._cargo.bad)
        return Check(
            "every bad invoice is refused for its fault", ok, f"{good} of {len(self._cargo.bad)}{_first(wrong)}"
        )


def check_upos(files: Iterable[Path], cargo: DemoInvoices, verdicts: Verdicts) -> Check:
    """Check that the receipts on disk name every valid invoice once, with the number that the API gives."""
    listed: dict[str, str] = {}
    pages = repeated = foreign = 0
    for path in files:
        pages += 1
        with path.open("rb") as file:
            for document in parse_upo(file).documents:
                digest = document.invoice_hash.hex()
                repeated += digest in listed
                foreign += document.seller_nip != cargo.seller_nip
                listed[digest] = document.ksef_number
    ok = listed == verdicts.numbers and len(listed) == cargo.count and not repeated and not foreign
    detail = f"{len(listed):,} invoices on {pages} page{'s' * (pages != 1)}"
    return Check("the UPOs on disk match what was sent, one to one", ok, detail)


def check_ledger(
    ledger: dict[str, Any], rows: Iterable[dict[str, Any]], cargo: DemoInvoices, verdicts: Verdicts
) -> Check:
    """Check that KSeF has every invoice once, and was never sent one twice. Hashes of `rows` are Base64."""
    known = {_hex(row["invoice_hash"]): row["ksef_number"] for row in rows}
    accepted, distinct, repeated = ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]
    ok = accepted == distinct == cargo.count and repeated == 0 and known == verdicts.numbers
    detail = f"{accepted:,} accepted, {distinct:,} distinct, {repeated:,} sent twice"
    return Check("KSeF's ledger has each invoice exactly once", ok, detail)


def check_webhooks(receiver: Receiver, verdicts: Verdicts, sessions: int) -> Check:
    """Check that every delivery was verified, and that together they announce every number."""
    complete = receiver.invoices == verdicts.ids
    ended = receiver.types["session.completed"] == sessions
    ok = bool(receiver.verified) and not receiver.refused and complete and ended
    detail = (
        f"{receiver.verified} deliveries verified, {len(receiver.refused)} refused, "
        f"{len(receiver.invoices):,} invoices announced"
    )
    return Check("webhooks are signed and announce every invoice", ok, detail + _first(receiver.refused))


def check_forgery(receiver: Receiver) -> Check:
    """Check that a changed delivery would not be believed."""
    ok = receiver.refuses_forgery()
    return Check("a delivery with one changed byte is refused", ok, "refused" if ok else "believed")


def _refusal(result: dict[str, Any], why: str, expected: str) -> Refusal:
    findings = [one for one in result.get("findings") or [] if one.get("severity") == "error"]
    rules = tuple(one["rule"] for one in findings)
    # What it is bad for comes first: a broken document often breaks further rules.
    named = next((one for one in findings if one["rule"] in _SAME_RULE.get(expected, {expected})), None)
    message = (named or (findings[0] if findings else {})).get("message", "")
    return Refusal(result["name"], why, expected, result["state"], rules, message)


def _hex(digest: str) -> str:
    return b64decode(digest).hex()


def _first(complaints: list[str]) -> str:
    return f"; first: {complaints[0]}" if complaints else ""

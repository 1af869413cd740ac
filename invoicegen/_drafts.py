"""Base of all kinds of invoices: the draft to fill in, and the pools and shares to fill it from."""

from dataclasses import dataclass
from datetime import date
from random import Random
from xml.sax.saxutils import escape

from invoicegen import _fragments as parts
from invoicegen._catalogue import Buyer, Catalogue
from invoicegen._lines import Line, Totals, gross, lines_xml

# Number of lines: (share of invoices, fewest, most), for each profile; small counts are more likely within a range.
_LINE_RANGES: dict[str, tuple[tuple[float, int, int], ...]] = {
    "mixed": ((0.85, 1, 10), (0.975, 8, 45), (1.0, 41, 200)),
    "small": ((1.0, 1, 3),),
    "large": ((0.6, 40, 120), (1.0, 120, 200)),
}


@dataclass(slots=True)
class Draft:
    """The parts that differ between kinds of invoices; `Composer` puts them between header and footer."""

    kind: str
    buyer: Buyer
    totals: Totals
    annotations: str = parts.PLAIN_ANNOTATIONS
    currency: str = "PLN"
    exchange: int | None = None
    order_exchange: str = ""
    correction: str = ""
    part_payments: str = ""
    marks: str = ""
    notes: str = ""
    advances: str = ""
    lines: str = ""
    ending: str = ""
    attachment: str = ""
    prefixed: bool = False
    period: bool = False


class Workshop:
    """Maker of drafts for a seller and a day from the pools; it keeps no state between drafts."""

    def __init__(
        self,
        *,
        seller_nip: str,
        days: parts.Days,
        pools: Catalogue,
        accounts: tuple[str, ...],
        profile: str,
        number_prefix: str,
        attachments: bool,
    ) -> None:
        self._nip = seller_nip
        self._days = days
        self._catalogue = pools
        self._accounts = accounts
        self._profile = profile
        self._prefix = escape(number_prefix)
        self._attachments = attachments

    def _count(self, rng: Random) -> int:
        chosen = rng.random()
        for bound, fewest, most in _LINE_RANGES[self._profile]:
            if chosen < bound:
                return fewest + int(rng.random() * rng.random() * (most - fewest + 1))
        raise AssertionError("the last range ends at one")

    def _earlier(self, rng: Random, *, oldest: int = 90) -> tuple[date, str]:
        """Draw day and number of an invoice issued some days before."""
        back = 1 + int(rng.random() * oldest)
        return self._days.day(-back), f"{self._prefix}/{self._days[-back]}/{int(rng.random() * 99_999)}"

    def _pick(self, rng: Random, buyers: tuple[Buyer, ...]) -> Buyer:
        return buyers[int(rng.random() * len(buyers))]

    def _identifier(self, rng: Random) -> str:
        return f"{rng.getrandbits(64):016x}-" if rng.random() < 0.3 else ""

    def _ending(self, rng: Random, amount: int, *, delivery: bool = False) -> str:
        """Draw Rozliczenie, Platnosc and WarunkiTransakcji, each for some invoices."""
        settled = parts.settlement(rng, amount) if rng.random() < 0.04 and amount > 0 else ""
        conditions = parts.terms(rng, self._days, delivery=delivery) if delivery or rng.random() < 0.15 else ""
        return f"{settled}{parts.payment(rng, self._days, self._accounts, amount)}{conditions}"

    def _sale(
        self,
        rng: Random,
        buyer: Buyer,
        lines: list[Line],
        totals: Totals,
        annotations: str = parts.PLAIN_ANNOTATIONS,
    ) -> Draft:
        """Make an ordinary invoice (VAT) with lines in zlotys."""
        return Draft(
            "VAT",
            buyer,
            totals,
            annotations=annotations,
            notes=parts.notes(rng, 1 + int(rng.random() * 3)) if rng.random() < 0.2 else "",
            lines="".join(lines_xml(lines, identifier=self._identifier(rng))),
            ending=self._ending(rng, gross(totals)),
        )

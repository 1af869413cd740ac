"""The kinds of invoices: what each is made of and in which share it comes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from random import Random
from xml.sax.saxutils import escape

from benchmarks import _fragments as parts
from benchmarks._catalogue import Buyer, Catalogue, Product
from benchmarks._lines import (
    Line,
    Total,
    Totals,
    difference,
    draw_lines,
    from_gross,
    gross,
    half_up,
    lines_xml,
    make_line,
    money,
    order_lines_xml,
    order_value,
    share,
    totals_from_gross,
    totals_from_net,
)

_CURRENCIES = (("EUR", 42_617), ("USD", 36_480), ("CZK", 1_752), ("GBP", 49_233), ("SEK", 3_871))
"""Currency and its rate in ten-thousandths of a zloty; the first are the likeliest."""
_SPLIT_PAYMENT_FROM = 1_500_000
"""Annexed goods need split payment above this gross amount, in grosze (VAT act, art. 106e, section 1, item 18a)."""
_SIMPLIFIED_UP_TO = 45_000
"""A simplified invoice is for at most 450 zl (VAT act, art. 106e, section 5, item 3)."""
_MOST_NOTES = 3300
"""Notes about lines on one document: keeps it under 1,000,000 bytes in every way of writing it."""
_MOST_ROWS = {"mixed": 250, "large": 3800}

# How many lines: (share of invoices, fewest, most), per profile; small counts are likelier within a range.
_LINE_RANGES: dict[str, tuple[tuple[float, int, int], ...]] = {
    "mixed": ((0.85, 1, 10), (0.975, 8, 45), (1.0, 41, 200)),
    "small": ((1.0, 1, 3),),
    "large": ((0.6, 40, 120), (1.0, 120, 200)),
}


@dataclass(slots=True)
class Draft:
    """What differs between kinds of invoices; `Composer` puts it between header and footer."""

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


class Kinds:
    """Draws drafts; knows the seller, the day and the pools, and keeps nothing between two drafts."""

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

    def weighted(self) -> list[tuple[float, Callable[[Random], Draft]]]:
        """Every kind of the profile with its weight."""
        if self._profile == "small":
            return [(70, self._domestic), (20, self._consumer), (5, self._exempt), (5, self._simplified)]
        if self._profile == "large":
            return [
                (55, self._domestic), (10, self._currency), (10, self._union_goods), (10, self._correction),
                (5, self._order), (5, self._final), (5, self._exempt),
            ]  # fmt: skip
        return [
            (54, self._domestic), (10, self._consumer), (4, self._exempt), (4, self._currency),
            (3, self._union_goods), (2, self._union_services), (1.5, self._export), (1, self._abroad),
            (1, self._distance_sale), (1, self._domestic_reverse), (1, self._margin), (0.5, self._vehicle),
            (5, self._correction), (1, self._rebate), (0.7, self._formal_correction), (3, self._order),
            (3, self._final), (3, self._simplified), (0.7, self._order_correction), (0.7, self._final_correction),
        ]  # fmt: skip

    # What invoices are made of

    def _count(self, rng: Random) -> int:
        chosen = rng.random()
        for bound, fewest, most in _LINE_RANGES[self._profile]:
            if chosen < bound:
                return fewest + int(rng.random() * rng.random() * (most - fewest + 1))
        raise AssertionError("the last range ends at one")

    def _earlier(self, rng: Random, *, oldest: int = 90) -> tuple[date, str]:
        """Day and number of an invoice issued some days before."""
        back = 1 + int(rng.random() * oldest)
        return self._days.day(-back), f"{self._prefix}/{self._days[-back]}/{int(rng.random() * 99_999)}"

    def _pick(self, rng: Random, buyers: tuple[Buyer, ...]) -> Buyer:
        return buyers[int(rng.random() * len(buyers))]

    def _identifier(self, rng: Random) -> str:
        return f"{rng.getrandbits(64):016x}-" if rng.random() < 0.3 else ""

    def _ending(self, rng: Random, amount: int, *, delivery: bool = False) -> str:
        """Rozliczenie, Platnosc and WarunkiTransakcji, each on some invoices."""
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
        """An ordinary invoice (VAT) over lines in zlotys."""
        return Draft(
            "VAT",
            buyer,
            totals,
            annotations=annotations,
            notes=parts.notes(rng, 1 + int(rng.random() * 3)) if rng.random() < 0.2 else "",
            lines="".join(lines_xml(lines, identifier=self._identifier(rng))),
            ending=self._ending(rng, gross(totals)),
        )

    # The kinds

    def _domestic(self, rng: Random) -> Draft:
        lines = draw_lines(rng, self._catalogue.taxed, self._count(rng))
        totals = totals_from_net(lines)
        amount = gross(totals)
        draft = self._sale(rng, self._pick(rng, self._catalogue.companies), lines, totals)
        if amount > _SPLIT_PAYMENT_FROM and rng.random() < 0.5:
            draft.annotations = parts.annotations(split=True)
            draft.lines = "".join(lines_xml(lines, more="<P_12_Zal_15>1</P_12_Zal_15>"))
        elif rng.random() < 0.03:
            draft.annotations = parts.annotations(cash=True)
        draft.period = rng.random() < 0.15
        if rng.random() < 0.02:
            draft.marks = "<TP>1</TP>"
        chosen = rng.random()
        if self._profile == "large" and chosen < 0.5:
            draft.notes += parts.line_notes(rng, len(lines), 1 + int(rng.random() * (_MOST_NOTES // len(lines))))
        elif chosen < (0.75 if self._profile == "large" else 0.008) and self._profile != "small" and self._attachments:
            rows = 5 + int(rng.random() * _MOST_ROWS[self._profile])
            draft.attachment = parts.attachment(rng, lines[0].product, self._days, rows, _sum(totals))
        return draft

    def _consumer(self, rng: Random) -> Draft:
        lines = draw_lines(rng, self._catalogue.taxed, self._count(rng))
        totals = totals_from_gross(lines)
        return Draft(
            "VAT", self._pick(rng, self._catalogue.consumers), totals, marks="<FP>1</FP>" if rng.random() < 0.6 else "",
            lines="".join(lines_xml(lines, gross=True)), ending=self._ending(rng, gross(totals)),
        )  # fmt: skip

    def _exempt(self, rng: Random) -> Draft:
        lines = draw_lines(rng, self._catalogue.exempt, self._count(rng))
        if rng.random() < 0.3:
            lines += draw_lines(rng, self._catalogue.taxed, 2)
        companies = self._pick(rng, self._catalogue.companies)
        return self._sale(rng, companies, lines, totals_from_net(lines), annotations=parts.annotations(exempt=True))

    def _abroad_sale(
        self, rng: Random, buyers: tuple[Buyer, ...], products: tuple[Product, ...], rate: str | None, *,
        reverse: bool = False, delivery: bool = False, prefixed: bool = False,
    ) -> Draft:  # fmt: skip
        """A sale in a foreign currency (now and then in zlotys)."""
        lines = draw_lines(rng, products, self._count(rng), rate)
        totals = totals_from_net(lines)
        currency, exchange = _CURRENCIES[int(rng.random() * rng.random() * len(_CURRENCIES))]
        if rate is not None and rng.random() < 0.2:
            currency, exchange = "PLN", 0
        exchange_xml = f"<KursWaluty>{exchange // 10_000}.{exchange % 10_000:04d}</KursWaluty>" if exchange else ""
        return Draft(
            "VAT", self._pick(rng, buyers), totals, annotations=parts.annotations(reverse=reverse), currency=currency,
            exchange=exchange or None, prefixed=prefixed, ending=self._ending(rng, gross(totals), delivery=delivery),
            lines="".join(lines_xml(lines, exchange=exchange_xml, identifier=self._identifier(rng))),
        )  # fmt: skip

    def _currency(self, rng: Random) -> Draft:
        return self._abroad_sale(rng, self._catalogue.companies, self._catalogue.taxed, None)

    def _union_goods(self, rng: Random) -> Draft:
        return self._abroad_sale(
            rng,
            self._catalogue.union,
            self._catalogue.goods,
            "0 WDT",
            delivery=rng.random() < 0.7,
            prefixed=True,
        )

    def _union_services(self, rng: Random) -> Draft:
        return self._abroad_sale(
            rng, self._catalogue.union, self._catalogue.services, "np II", reverse=True, prefixed=True
        )

    def _export(self, rng: Random) -> Draft:
        return self._abroad_sale(rng, self._catalogue.overseas, self._catalogue.goods, "0 EX", delivery=True)

    def _abroad(self, rng: Random) -> Draft:
        return self._abroad_sale(rng, self._catalogue.overseas, self._catalogue.services, "np I")

    def _domestic_reverse(self, rng: Random) -> Draft:
        lines = draw_lines(rng, self._catalogue.goods, min(3, self._count(rng)), "oo")
        buyer = self._pick(rng, self._catalogue.companies)
        return self._sale(rng, buyer, lines, totals_from_net(lines), annotations=parts.annotations(reverse=True))

    def _distance_sale(self, rng: Random) -> Draft:
        """A sale to a consumer in Czechia under the one-stop shop, with the Czech rate of 21 %."""
        lines = draw_lines(rng, self._catalogue.goods, min(5, self._count(rng)), "oss")
        identity = "<DaneIdentyfikacyjne><BrakID>1</BrakID><Nazwa>Zákazník e-shopu</Nazwa></DaneIdentyfikacyjne>"
        address = "<Adres><KodKraju>CZ</KodKraju><AdresL1>Křížová 8</AdresL1><AdresL2>603 00 Brno</AdresL2></Adres>"
        buyer = Buyer(f"<Podmiot2>{identity}{address}<JST>2</JST><GV>2</GV></Podmiot2>", f"{identity}{address}", "CZ")
        return self._sale(rng, buyer, lines, totals_from_net(lines))

    def _margin(self, rng: Random) -> Draft:
        lines = draw_lines(rng, self._catalogue.goods, min(3, self._count(rng)), "margin")
        totals = totals_from_gross(lines)
        buyer = self._pick(rng, self._catalogue.consumers)
        return Draft(
            "VAT", buyer, totals, annotations=parts.annotations(margin=True),
            lines="".join(lines_xml(lines, gross=True)),
            ending=self._ending(rng, gross(totals)),
        )  # fmt: skip

    def _vehicle(self, rng: Random) -> Draft:
        product = self._catalogue.goods[0]._replace(
            head="<P_7>samochód osobowy, fabrycznie nowy – Wążbud Kret 2.0</P_7><P_8A>szt.</P_8A>", tail=""
        )
        lines = [make_line(product, 1000, (90_000 + int(rng.random() * 90_000)) * 10_000, 0, "0 WDT")]
        vehicle = parts.new_vehicle(rng, self._days[-20])
        buyer = self._pick(rng, self._catalogue.union)
        draft = self._sale(rng, buyer, lines, totals_from_net(lines), annotations=parts.annotations(vehicle=vehicle))
        draft.prefixed = True
        return draft

    def _simplified(self, rng: Random) -> Draft:
        rate = ("23", "8", "5")[int(rng.random() * 3)]
        amount = 500 + int(rng.random() * (_SIMPLIFIED_UP_TO - 500))
        product = self._catalogue.goods[int(rng.random() * len(self._catalogue.goods))]
        line = f"<FaWiersz><NrWierszaFa>1</NrWierszaFa><P_7>{product.name}</P_7><P_12>{rate}</P_12></FaWiersz>"
        return Draft("UPR", self._pick(rng, self._catalogue.simplified), {rate: from_gross(rate, amount)}, lines=line)

    def _changed(self, rng: Random, lines: list[Line]) -> list[Line]:
        """The lines after a correction: some returned in part, some cheaper, at least one of them changed."""
        after = list(lines)
        for place in {int(rng.random() * len(lines)) for _ in range(1 + len(lines) // 4)}:
            old = lines[place]
            if old.quantity > 1000 and rng.random() < 0.6:
                after[place] = make_line(old.product, old.quantity - 1000, old.price, old.discount, old.rate)
            else:
                cheaper = half_up(old.price * 9, 10 * 100) * 100
                after[place] = make_line(old.product, old.quantity, cheaper, min(old.discount, cheaper), old.rate)
        return after

    def _reason(self, rng: Random, text: str, kind: int, count: int = 1, ending: str = "") -> str:
        earlier = []
        for _ in range(count):
            day, number = self._earlier(rng)
            earlier.append(parts.corrected(rng, self._nip, day, number))
        return f"<PrzyczynaKorekty>{text}</PrzyczynaKorekty><TypKorekty>{kind}</TypKorekty>{''.join(earlier)}{ending}"

    def _correction(self, rng: Random) -> Draft:
        before = draw_lines(rng, self._catalogue.taxed, max(1, self._count(rng) // 2))
        after = self._changed(rng, before)
        pairs = zip(lines_xml(before, before=True), lines_xml(after), strict=True)
        text = ("zwrot części towaru", "obniżka ceny – uszkodzenia estetyczne", "błędna ilość")[int(rng.random() * 3)]
        return Draft(
            "KOR", self._pick(rng, self._catalogue.companies),
            difference(totals_from_net(after), totals_from_net(before)),
            correction=self._reason(rng, text, 1 + int(rng.random() * 3)),
            lines="".join(old + new for old, new in pairs),
        )  # fmt: skip

    def _rebate(self, rng: Random) -> Draft:
        """A discount on all sales of a period: many invoices corrected, no lines."""
        rebate = half_up(-(10_000 + int(rng.random() * 5_000_000)) * 100, 123)
        totals = {"23": Total(rebate, half_up(rebate * 23, 100))}
        period = "<OkresFaKorygowanej>ostatni kwartał</OkresFaKorygowanej>"
        text = "rabat z uwagi na poziom zakupów w okresie"
        reason = self._reason(rng, text, 2, 2 + int(rng.random() * 8), period)
        return Draft("KOR", self._pick(rng, self._catalogue.companies), totals, correction=reason)

    def _formal_correction(self, rng: Random) -> Draft:
        """The buyer was named wrongly: Podmiot2K has what was there before, and no amount changes."""
        wrong = self._pick(rng, self._catalogue.companies)
        old = f"<Podmiot2K>{wrong.podmiot2k}</Podmiot2K>"
        reason = self._reason(rng, "błędne dane nabywcy", 3, ending=old)
        return Draft("KOR", self._pick(rng, self._catalogue.companies), {}, correction=reason)

    def _order(self, rng: Random) -> Draft:
        """An advance (ZAL) of some percent of an order; one in five in euro."""
        lines = draw_lines(rng, self._catalogue.taxed, self._count(rng))
        percent = 10 + 10 * int(rng.random() * 5)
        totals = share(totals_from_net(lines), percent)
        amount = gross(totals)
        currency, exchange, rate = "PLN", 0, ""
        if rng.random() < 0.2:
            currency, exchange, rate = "EUR", 42_617, "<KursWalutyZ>4.2617</KursWalutyZ>"
        payments = ""
        if currency == "PLN" and amount > 1000 and rng.random() < 0.3:
            first = amount // 2
            payments = "".join(
                f"<ZaliczkaCzesciowa><P_6Z>{self._days[day]}</P_6Z><P_15Z>{money(part)}</P_15Z></ZaliczkaCzesciowa>"
                for day, part in ((-6, first), (-2, amount - first))
            )
        order = (
            f"<Zamowienie><WartoscZamowienia>{money(order_value(lines))}</WartoscZamowienia>"
            f"{''.join(order_lines_xml(lines))}</Zamowienie>"
        )
        return Draft(
            "ZAL", self._pick(rng, self._catalogue.companies), totals, currency=currency, exchange=exchange or None,
            order_exchange=rate, part_payments=payments,
            ending=f"{parts.payment(rng, self._days, self._accounts, amount)}{order}",
        )  # fmt: skip

    def _order_correction(self, rng: Random) -> Draft:
        before = draw_lines(rng, self._catalogue.taxed, max(1, self._count(rng) // 2))
        after = self._changed(rng, before)
        percent = 10 + 10 * int(rng.random() * 5)
        was, now = share(totals_from_net(before), percent), share(totals_from_net(after), percent)
        pairs = zip(order_lines_xml(before, before=True), order_lines_xml(after), strict=True)
        order = (
            f"<Zamowienie><WartoscZamowienia>{money(order_value(after))}</WartoscZamowienia>"
            f"{''.join(old + new for old, new in pairs)}</Zamowienie>"
        )
        reason = self._reason(rng, "zmiana zamówienia", 3, ending=f"<P_15ZK>{money(gross(was))}</P_15ZK>")
        return Draft(
            "KOR_ZAL",
            self._pick(rng, self._catalogue.companies),
            difference(now, was),
            correction=reason,
            ending=order,
        )

    def _remaining(self, lines: list[Line], percent: int) -> Totals:
        """What is left to invoice after advances of `percent`; net and VAT are what the advances did not hold."""
        whole = totals_from_net(lines)
        return difference(whole, share(whole, percent))

    def _advances(self, rng: Random) -> str:
        out = []
        for _ in range(1 + int(rng.random() * 3)):
            day, number = self._earlier(rng, oldest=180)
            out.append(parts.advance(rng, self._nip, day, number))
        return "".join(out)

    def _final(self, rng: Random) -> Draft:
        """The settlement (ROZ) of earlier advances: all lines, and sums of what remains."""
        lines = draw_lines(rng, self._catalogue.taxed, self._count(rng))
        totals = self._remaining(lines, 10 + 10 * int(rng.random() * 5))
        return Draft(
            "ROZ", self._pick(rng, self._catalogue.companies), totals, advances=self._advances(rng),
            lines="".join(lines_xml(lines)), ending=parts.payment(rng, self._days, self._accounts, gross(totals)),
        )  # fmt: skip

    def _final_correction(self, rng: Random) -> Draft:
        before = draw_lines(rng, self._catalogue.taxed, max(1, self._count(rng) // 2))
        after = self._changed(rng, before)
        percent = 10 + 10 * int(rng.random() * 5)
        was, now = self._remaining(before, percent), self._remaining(after, percent)
        pairs = zip(lines_xml(before, before=True), lines_xml(after), strict=True)
        reason = self._reason(rng, "pomyłka w cenie", 1, ending=f"<P_15ZK>{money(gross(was))}</P_15ZK>")
        return Draft(
            "KOR_ROZ", self._pick(rng, self._catalogue.companies), difference(now, was), correction=reason,
            advances=self._advances(rng), lines="".join(old + new for old, new in pairs),
        )  # fmt: skip


def _sum(totals: Totals) -> Total:
    return Total(sum(t.net for t in totals.values()), sum(t.vat for t in totals.values()))

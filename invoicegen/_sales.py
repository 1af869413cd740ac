"""Sales of goods and services: kinds VAT and UPR, at home and abroad."""

from random import Random

from invoicegen import _fragments as parts
from invoicegen._catalogue import Buyer, Product
from invoicegen._drafts import Draft, Workshop
from invoicegen._lines import (
    Total,
    Totals,
    draw_lines,
    from_gross,
    gross,
    lines_xml,
    make_line,
    totals_from_gross,
    totals_from_net,
)

_CURRENCIES = (("EUR", 42_617), ("USD", 36_480), ("CZK", 1_752), ("GBP", 49_233), ("SEK", 3_871))
"""Currencies with their rates in ten-thousandths of a zloty; the first are the most likely."""
_SPLIT_PAYMENT_FROM = 1_500_000
"""Annexed goods need split payment above this gross amount, in grosze (VAT act, art. 106e, section 1, item 18a)."""
_SIMPLIFIED_UP_TO = 45_000
"""A simplified invoice is for at most 450 zl (VAT act, art. 106e, section 5, item 3)."""
_MOST_NOTES = 3800
"""The most notes about lines in one invoice, which keep it below 1,000,000 bytes in every form of its XML."""
_MOST_ROWS = {"mixed": 250, "large": 4400}


class Sales(Workshop):
    """Maker of ordinary and simplified invoices."""

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
        """Make a sale in a foreign currency (sometimes in zlotys)."""
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
        """Make a sale to a consumer in Czechia under the one-stop shop, with the Czech rate of 21 %."""
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


def _sum(totals: Totals) -> Total:
    return Total(sum(t.net for t in totals.values()), sum(t.vat for t in totals.values()))

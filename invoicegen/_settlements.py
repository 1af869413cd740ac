"""Invoices about other invoices: corrections, advances on orders, and their settlement."""

from random import Random

from invoicegen import _fragments as parts
from invoicegen._drafts import Draft, Workshop
from invoicegen._lines import (
    Line,
    Total,
    Totals,
    difference,
    draw_lines,
    gross,
    half_up,
    lines_xml,
    make_line,
    money,
    order_lines_xml,
    order_value,
    share,
    totals_from_net,
)


class Settlements(Workshop):
    """Maker of the kinds KOR, ZAL, ROZ, KOR_ZAL and KOR_ROZ."""

    def _changed(self, rng: Random, lines: list[Line]) -> list[Line]:
        """Change lines as a correction does: some partly returned, some cheaper, at least one of them changed."""
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
        """Make a discount on all sales of a period: it corrects many invoices and has no lines."""
        rebate = half_up(-(10_000 + int(rng.random() * 5_000_000)) * 100, 123)
        totals = {"23": Total(rebate, half_up(rebate * 23, 100))}
        period = "<OkresFaKorygowanej>ostatni kwartał</OkresFaKorygowanej>"
        text = "rabat z uwagi na poziom zakupów w okresie"
        reason = self._reason(rng, text, 2, 2 + int(rng.random() * 8), period)
        return Draft("KOR", self._pick(rng, self._catalogue.companies), totals, correction=reason)

    def _formal_correction(self, rng: Random) -> Draft:
        """Make a correction of the buyer's name: Podmiot2K has the earlier data, and no amount changes."""
        wrong = self._pick(rng, self._catalogue.companies)
        old = f"<Podmiot2K>{wrong.podmiot2k}</Podmiot2K>"
        reason = self._reason(rng, "błędne dane nabywcy", 3, ending=old)
        return Draft("KOR", self._pick(rng, self._catalogue.companies), {}, correction=reason)

    def _order(self, rng: Random) -> Draft:
        """Make an advance (ZAL) of some percent of an order; one in five in euro."""
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
        """Return the totals that remain after advances of `percent`: net and VAT less those of the advances."""
        whole = totals_from_net(lines)
        return difference(whole, share(whole, percent))

    def _advances(self, rng: Random) -> str:
        out = []
        for _ in range(1 + int(rng.random() * 3)):
            day, number = self._earlier(rng, oldest=180)
            out.append(parts.advance(rng, self._nip, day, number))
        return "".join(out)

    def _final(self, rng: Random) -> Draft:
        """Make the settlement (ROZ) of earlier advances: all lines, and the totals that remain."""
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

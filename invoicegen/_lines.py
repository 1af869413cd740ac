"""Lines and sums of an invoice. Money is whole hundredths of the currency unit, so sums are exact."""

from random import Random
from typing import NamedTuple

from invoicegen._catalogue import Product

BANDS: dict[str, tuple[str, int]] = {
    "23": ("1", 23),
    "8": ("2", 8),
    "5": ("3", 5),
    "oss": ("5", 21),
    "0 KR": ("6_1", 0),
    "0 WDT": ("6_2", 0),
    "0 EX": ("6_3", 0),
    "zw": ("7", 0),
    "np I": ("8", 0),
    "np II": ("9", 0),
    "oo": ("10", 0),
    "margin": ("11", 0),
}
"""Rate on the line (P_12) to the suffix of its P_13 field and its percentage; in the order of the schema.

`oss` (another member state's rate, P_12_XII) and `margin` have no P_12 of their own.
"""


class Line(NamedTuple):
    """One line: quantity in thousandths, price and discount in ten-thousandths, value in hundredths."""

    product: Product
    quantity: int
    price: int
    discount: int
    value: int
    rate: str


class Total(NamedTuple):
    """Net and VAT of one rate, in hundredths."""

    net: int
    vat: int


Totals = dict[str, Total]


def money(hundredths: int) -> str:
    """Format an amount as TKwotowy: a point, two decimals, no plus sign."""
    sign = "-" if hundredths < 0 else ""
    hundredths = abs(hundredths)
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def half_up(numerator: int, denominator: int) -> int:
    """Return the quotient rounded to the nearest integer, halves away from zero."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def make_line(product: Product, quantity: int, price: int, discount: int, rate: str) -> Line:
    """Make a line; its value is its quantity times its price less the discount per unit."""
    return Line(product, quantity, price, discount, half_up(quantity * (price - discount), 100_000), rate)


def draw_lines(rng: Random, products: tuple[Product, ...], count: int, rate: str | None = None) -> list[Line]:
    """Draw `count` lines of random products; `rate` overrides the products' own."""
    rand = rng.random
    size = len(products)
    lines = []
    for _ in range(count):
        product = products[int(rand() * size)]
        price = (product.low + int(rand() * (product.high - product.low))) // 100 * 100
        # Expensive products get small quantities, cheap ones large quantities.
        most = 3 if price > 500_000 else 20 if price > 50_000 else 400
        quantity = (1 + int(rand() * rand() * most)) * 1000
        if product.divisible:
            if rand() < 0.5:
                quantity += int(rand() * 1000)
            if rand() < 0.2:
                price += int(rand() * 100)
        discount = price // 1000 * 100 if rand() < 0.08 else 0
        value = (quantity * (price - discount) + 50_000) // 100_000
        lines.append(Line(product, quantity, price, discount, value, rate or product.rate))
    return lines


def _quantity(thousandths: int) -> str:
    if thousandths % 1000 == 0:
        return str(thousandths // 1000)
    return f"{thousandths // 1000}.{thousandths % 1000:03d}".rstrip("0")


def _price(ten_thousandths: int) -> str:
    if ten_thousandths % 100 == 0:
        return f"{ten_thousandths // 10_000}.{ten_thousandths // 100 % 100:02d}"
    return f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"


def lines_xml(
    lines: list[Line],
    *,
    gross: bool = False,
    identifier: str = "",
    more: str = "",
    exchange: str = "",
    before: bool = False,
) -> list[str]:
    """Build the FaWiersz elements, numbered from 1.

    `gross` writes prices with VAT (P_9B, P_11A). `identifier` starts the UU_ID of each line, `more` is the text
    before GTU (the mark of annex 15), `exchange` is a complete KursWaluty, `before` marks the state before a
    correction.
    """
    price_tag, value_tag = ("P_9B", "P_11A") if gross else ("P_9A", "P_11")
    end = f"{exchange}{'<StanPrzed>1</StanPrzed>' if before else ''}</FaWiersz>"
    out = []
    for number, (product, quantity, price, discount, value, rate) in enumerate(lines, 1):
        own = f"<UU_ID>{identifier}{number:04d}</UU_ID>" if identifier else ""
        less = f"<P_10>{_price(discount)}</P_10>" if discount else ""
        if rate == "oss":
            band = f"<P_12_XII>{BANDS[rate][1]}</P_12_XII>"
        elif rate == "margin":
            band = ""
        else:
            band = f"<P_12>{rate}</P_12>"
        out.append(
            f"<FaWiersz><NrWierszaFa>{number}</NrWierszaFa>{own}{product.head}<P_8B>{_quantity(quantity)}</P_8B>"
            f"<{price_tag}>{_price(price)}</{price_tag}>{less}<{value_tag}>{money(value)}</{value_tag}>"
            f"{band}{more}{product.tail}{end}"
        )
    return out


def order_lines_xml(lines: list[Line], *, before: bool = False) -> list[str]:
    """Build the ZamowienieWiersz elements of an advance invoice, each with its net value and VAT."""
    end = f"{'<StanPrzedZ>1</StanPrzedZ>' if before else ''}</ZamowienieWiersz>"
    out = []
    for number, line in enumerate(lines, 1):
        tail = line.product.tail.replace("GTU>", "GTUZ>")
        out.append(
            f"<ZamowienieWiersz><NrWierszaZam>{number}</NrWierszaZam>{line.product.order_head}"
            f"<P_8BZ>{_quantity(line.quantity)}</P_8BZ><P_9AZ>{_price(line.price - line.discount)}</P_9AZ>"
            f"<P_11NettoZ>{money(line.value)}</P_11NettoZ><P_11VatZ>{money(line_vat(line))}</P_11VatZ>"
            f"<P_12Z>{line.rate}</P_12Z>{tail}{end}"
        )
    return out


def line_vat(line: Line) -> int:
    """Return the VAT of a line with a net value."""
    return half_up(line.value * BANDS[line.rate][1], 100)


def order_value(lines: list[Line]) -> int:
    """Return the value of an order with VAT: the sum of its lines, each rounded as printed."""
    return sum(line.value + line_vat(line) for line in lines)


def _values(lines: list[Line]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.rate] = sums.get(line.rate, 0) + line.value
    return sums


def totals_from_net(lines: list[Line]) -> Totals:
    """Sum net by rate, and compute VAT once from each rate's net."""
    return {rate: Total(net, half_up(net * BANDS[rate][1], 100)) for rate, net in _values(lines).items()}


def from_gross(rate: str, amount: int) -> Total:
    """Split an amount that includes VAT into net and VAT."""
    percent = BANDS[rate][1]
    vat = half_up(amount * percent, 100 + percent)
    return Total(amount - vat, vat)


def totals_from_gross(lines: list[Line]) -> Totals:
    """Sum by rate lines whose values include VAT."""
    return {rate: from_gross(rate, amount) for rate, amount in _values(lines).items()}


def share(totals: Totals, percent: int) -> Totals:
    """Return the totals of an advance of `percent` of each rate's gross amount."""
    return {rate: from_gross(rate, half_up((t.net + t.vat) * percent, 100)) for rate, t in totals.items()}


def difference(after: Totals, before: Totals) -> Totals:
    """Subtract `before` from `after`, rate by rate, for the totals of a correction."""
    nothing = Total(0, 0)
    result = {}
    for rate in {**before, **after}:
        new, old = after.get(rate, nothing), before.get(rate, nothing)
        result[rate] = Total(new.net - old.net, new.vat - old.vat)
    return result


def gross(totals: Totals) -> int:
    """Return the sum of all net and VAT amounts, the value of P_15."""
    return sum(total.net + total.vat for total in totals.values())


def totals_xml(totals: Totals, exchange: int | None = None) -> str:
    """Build P_13, P_14 (and P_14W with an exchange rate, in ten-thousandths of a zloty) and P_15."""
    out = []
    for rate, (field, percent) in BANDS.items():
        total = totals.get(rate)
        if total is None:
            continue
        out.append(f"<P_13_{field}>{money(total.net)}</P_13_{field}>")
        if percent:
            out.append(f"<P_14_{field}>{money(total.vat)}</P_14_{field}>")
            if exchange is not None and rate != "oss":
                zloty = half_up(total.vat * exchange, 10_000)
                out.append(f"<P_14_{field}W>{money(zloty)}</P_14_{field}W>")
    out.append(f"<P_15>{money(gross(totals))}</P_15>")
    return "".join(out)

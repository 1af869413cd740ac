"""Composer of one invoice from a seed and an index: chooses its kind, its parts, and the form of its XML."""

import re
from bisect import bisect
from datetime import date
from itertools import accumulate
from random import Random
from xml.sax.saxutils import escape

from invoicegen import _fragments as parts
from invoicegen._catalogue import catalogue
from invoicegen._drafts import Draft
from invoicegen._kinds import Kinds
from invoicegen._lines import totals_xml

NAMESPACE = "http://crd.gov.pl/wzor/2025/06/25/13775/"
FORM = (
    '<KodFormularza kodSystemowy="FA (3)" wersjaSchemy="1-0E">FA</KodFormularza>'
    "<WariantFormularza>3</WariantFormularza>"
)
_TYPES = "http://crd.gov.pl/xml/schematy/dziedzinowe/mf/2022/01/05/eD/DefinicjeTypy/"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_TAG = re.compile(r"<(/?)(?=[A-Za-z])")
_SYSTEMS = ("ERP Żuraw 9.4", "Generator faktur", "SprzedażMax <2026>", "Bilans & Spółka 12")


class Composer:
    """Composer of any invoice of one run by its index, without making those before it."""

    def __init__(
        self,
        *,
        seller_nip: str,
        issue_date: date,
        seed: int,
        profile: str,
        number_prefix: str,
        attachments: bool,
    ) -> None:
        self._seed = seed
        self._days = parts.Days(issue_date)
        self._stem = f"{number_prefix}/{issue_date:%Y%m%d}/{seed}"
        self._catalogue = catalogue(seed)
        self._seller, self._seller_prefixed, self._footer, accounts = parts.seller_parts(seller_nip)
        kinds = Kinds(
            seller_nip=seller_nip,
            days=self._days,
            pools=self._catalogue,
            accounts=accounts,
            profile=profile,
            number_prefix=number_prefix,
            attachments=attachments,
        ).weighted()
        self._draw = [draw for _, draw in kinds]
        self._bounds = list(accumulate(weight for weight, _ in kinds))

    def compose(self, index: int) -> tuple[str, str, bytes]:
        """Return number, kind (RodzajFaktury) and XML of the invoice with this index."""
        # Each invoice has its own generator, so its bytes depend only on seed and index, not on the start of the run.
        rng = Random((self._seed << 48) ^ index)
        draft = self._draw[bisect(self._bounds, rng.random() * self._bounds[-1], hi=len(self._draw) - 1)](rng)
        number = f"{self._stem}/{index + 1:07d}"
        return number, draft.kind, _written(rng, self._assembled(rng, draft, escape(number)))

    def _assembled(self, rng: Random, draft: Draft, number: str) -> str:
        rand = rng.random
        days = self._days
        when = f"{days[0]}T{int(rand() * 5):02d}:{int(rand() * 60):02d}:{int(rand() * 60):02d}Z"
        system = f"<SystemInfo>{escape(_SYSTEMS[int(rand() * len(_SYSTEMS))])}</SystemInfo>" if rand() < 0.8 else ""
        third = ""
        if rand() < 0.05 and draft.kind != "UPR":
            third = self._catalogue.thirds[int(rand() * len(self._catalogue.thirds))]
        place = "<P_1M>Warszawa</P_1M>" if rand() < 0.6 else ""
        stock = f"<WZ>WZ/{int(rand() * 99_999)}/MG</WZ>" if rand() < 0.1 else ""
        if draft.period:
            supplied = f"<OkresFa><P_6_Od>{days[-30]}</P_6_Od><P_6_Do>{days[-1]}</P_6_Do></OkresFa>"
        else:
            supplied = f"<P_6>{days[-int(rand() * 12)]}</P_6>" if rand() < 0.7 else ""
        footer = self._footer if rand() < 0.5 else ""
        return (
            f"<Naglowek>{FORM}<DataWytworzeniaFa>{when}</DataWytworzeniaFa>{system}</Naglowek>"
            f"{self._seller_prefixed if draft.prefixed else self._seller}{draft.buyer.xml}{third}"
            f"<Fa><KodWaluty>{draft.currency}</KodWaluty><P_1>{days[0]}</P_1>{place}<P_2>{number}</P_2>{stock}{supplied}"
            f"{totals_xml(draft.totals, draft.exchange)}{draft.order_exchange}{draft.annotations}"
            f"<RodzajFaktury>{draft.kind}</RodzajFaktury>{draft.correction}{draft.part_payments}{draft.marks}"
            f"{draft.notes}{draft.advances}{draft.lines}{draft.ending}</Fa>{footer}{draft.attachment}</Faktura>"
        )


def _written(rng: Random, body: str) -> bytes:
    """Write the XML in the style of one of several programs: the same content in other bytes."""
    style = rng.random()
    prolog = '<?xml version="1.0" encoding="UTF-8"?>'
    plain = f'<Faktura xmlns="{NAMESPACE}">{body}'
    if style < 0.5:
        return f"{prolog}{plain}".encode()
    root = f'<Faktura xmlns:etd="{_TYPES}" xmlns:xsi="{_INSTANCE}" xmlns="{NAMESPACE}">'
    if style < 0.75:
        text = f"{prolog}\n{root}{body}\n".replace("><", ">\n<")
    elif style < 0.8:
        text = f"<?xml version='1.0' encoding='utf-8' standalone='yes'?>\r\n{root}{body}".replace("><", ">\r\n<")
    elif style < 0.85:
        text = plain
    elif style < 0.92:
        prefixed = _TAG.sub(r"<\1fa:", body)
        text = f'{prolog}<fa:Faktura xmlns:fa="{NAMESPACE}">{prefixed}'
    elif style < 0.96:
        # Every character outside ASCII is a reference: a parser reads the same content, but the hash differs.
        return f"{prolog}{root}{body}".encode("ascii", "xmlcharrefreplace")
    else:
        text = f"{prolog}<!-- wydruk próbny: nie -->{root}{body}"
    return text.encode()

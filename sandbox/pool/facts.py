"""Facts of an accepted invoice that its metadata lists beyond the key fields, read from its XML."""

import re
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from sandbox.pool.archive import read_entries

_VAT = re.compile(r"P_14_[0-9]")
_NET = re.compile(r"P_13_[0-9]+")


@dataclass(frozen=True, slots=True)
class OtherParty:
    """A third party, or the authorised entity, whose identifier is a NIP."""

    identifier: tuple[str, str | None]
    name: str | None
    role: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Parties, amounts and flags of an invoice."""

    seller_name: str | None = None
    buyer_type: str = "None"
    buyer_value: str | None = None
    buyer_name: str | None = None
    currency: str = "PLN"
    net: float = 0.0
    vat: float = 0.0
    gross: float = 0.0
    self_invoicing: bool = False
    attachment: bool = False
    third: tuple[OtherParty, ...] = ()
    authorized: OtherParty | None = None


def facts_of_package(package: Path, compression: str) -> dict[str, Facts]:
    """Read the facts of every document of a decrypted package, by entry name."""
    return {name: facts_of(b"".join(chunks)) for name, chunks in read_entries(package, compression, 1 << 31)}


def facts_of(content: bytes) -> Facts:
    """Read the facts of one document, which has been checked before; anything else has none."""
    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return Facts()
    seller, buyer = _child(root, "Podmiot1", "DaneIdentyfikacyjne"), _child(root, "Podmiot2", "DaneIdentyfikacyjne")
    body = next((node for node in root if _name(node) in {"Fa", "FakturaRR"}), root)
    amounts = [(_name(node), _number(node.text)) for node in body]
    gross = sum(value for name, value in amounts if name in {"P_15", "P_12_1"})
    vat = sum(value for name, value in amounts if _VAT.fullmatch(name))
    kind, value = _identifier(buyer)
    return Facts(
        seller_name=_text(seller, "Nazwa"),
        buyer_type=kind,
        buyer_value=value,
        buyer_name=_text(buyer, "Nazwa"),
        currency=_text(body, "KodWaluty") or "PLN",
        net=round(sum(value for name, value in amounts if _NET.fullmatch(name)), 2),
        vat=round(vat, 2),
        gross=round(gross, 2),
        self_invoicing=_text(_child(body, "Adnotacje"), "P_17") == "1",
        attachment=_child(root, "Zalacznik") is not None,
        third=tuple(_other_party(node, "Rola") for node in root if _name(node) == "Podmiot3"),
        authorized=_authorized(_child(root, "PodmiotUpowazniony")),
    )


def _other_party(element: etree._Element, role: str) -> OtherParty:
    """Read a party with a role; a role in words (RolaInna) has the number 0."""
    named = _child(element, "DaneIdentyfikacyjne")
    number = (_text(element, role) or "").removeprefix("+")
    return OtherParty(_identifier(named), _text(named, "Nazwa"), int(number) if number.isdecimal() else 0)


def _authorized(element: etree._Element | None) -> OtherParty | None:
    party = _other_party(element, "RolaPU") if element is not None else None
    return party if party is not None and party.identifier[0] == "Nip" else None


def _identifier(party: etree._Element | None) -> tuple[str, str | None]:
    for tag, kind in (("NIP", "Nip"), ("IDWew", "InternalId"), ("NrVatUE", "VatUe"), ("NrID", "Other")):
        value = _text(party, tag)
        if value is not None:
            return kind, value
    return "None", None


def _child(element: etree._Element | None, *path: str) -> etree._Element | None:
    for step in path:
        if element is None:
            return None
        element = next((node for node in element if _name(node) == step), None)
    return element


def _name(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _text(element: etree._Element | None, name: str) -> str | None:
    found = _child(element, name)
    return ((found.text or "").strip() or None) if found is not None else None


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0

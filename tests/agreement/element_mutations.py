"""What can happen to the elements of an invoice: lost, doubled, swapped, renamed, moved, in another namespace."""

from collections.abc import Callable
from copy import deepcopy
from random import Random

from lxml import etree

_FA3 = "http://crd.gov.pl/wzor/2025/06/25/13775/"
_TYPES = "http://crd.gov.pl/xml/schematy/dziedzinowe/mf/2022/01/05/eD/DefinicjeTypy/"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NAMESPACES = (
    "",
    "urn:x",
    "http://crd.gov.pl/wzor/2023/06/29/12648/",
    "http://crd.gov.pl/wzor/2025/06/25/13775",
    _FA3 + "/",
    _TYPES,
)
_NAMES = (
    "P_1", "P_2", "P_15", "P_13_1", "P_14_1", "NIP", "Nazwa", "Fa", "FaWiersz", "Podmiot1", "Podmiot2", "Podmiot3", "Adres", "Adnotacje", "x", "ą",
    "P_6", "KodWaluty", "RodzajFaktury", "Zalacznik", "DodatkowyOpis", "Rozliczenie", "Platnosc", "Stopka", "IDWew", "BrakID", "NrVatUE", "P_1M",
    "TP", "FP", "P_17", "Rola", "GV", "JST", "WZ", "PrzyczynaKorekty", "DaneFaKorygowanej", "KursWalutyZ", "ZwrotAkcyzy", "p_2",
)  # fmt: skip
_VALUES = ("", "1", "2", "0", "x", "2026-01-01", "1.00", "PL", "5265877635", "A B")
_ATTRIBUTES = (
    ("a", "1"), ("kodSystemowy", "FA (3)"), ("wersjaSchemy", "1-0E"), (f"{{{_XSI}}}nil", "true"), (f"{{{_XSI}}}nil", "false"), (f"{{{_XSI}}}nil", "0"),
    (f"{{{_XSI}}}schemaLocation", "urn:a a.xsd"), (f"{{{_XSI}}}noNamespaceSchemaLocation", "a.xsd"), (f"{{{_XSI}}}type", "x"),
    ("{http://www.w3.org/XML/1998/namespace}lang", "pl"), ("{urn:x}a", "1"), (f"{{{_FA3}}}kodSystemowy", "FA (3)"), ("typ", "G"), ("Typ", "x"),
)  # fmt: skip
_XSI_TYPES = (
    "TZnakowy",
    "TZnakowy512",
    "TKwotowy",
    "TDataT",
    "TNaglowek",
    "TPodmiot1",
    "TAdres",
    "TNrNIP",
    "TRodzajFaktury",
    "nothing",
)

_Element = etree._Element
_Change = Callable[[_Element, Random], None]


def _on_tree(change: _Change) -> Callable[[bytes, Random], bytes]:
    """Make a mutation of bytes out of a change of a tree; what cannot be parsed stays as it is."""

    def mutate(document: bytes, random: Random) -> bytes:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        try:
            root = etree.fromstring(document, parser)
        except (etree.XMLSyntaxError, ValueError):
            return document
        change(root, random)
        declaration = b'<?xml version="1.0" encoding="UTF-8"?>\n' if random.random() < 0.8 else b""
        return declaration + etree.tostring(root, encoding="UTF-8", xml_declaration=False)

    return mutate


def _any(root: _Element, random: Random, *, leaf: bool | None = None) -> _Element | None:
    """Return one element below the root, None if there is none such."""
    wanted = [one for one in root.iterdescendants(etree.Element) if leaf is None or (len(one) == 0) == leaf]
    return random.choice(wanted) if wanted else None


def _name(random: Random) -> str:
    return f"{{{_FA3}}}{random.choice(_NAMES)}"


def _new(random: Random) -> _Element:
    namespace = _FA3 if random.random() < 0.85 else random.choice(_NAMESPACES)
    element = etree.Element(f"{{{namespace}}}{random.choice(_NAMES)}" if namespace else random.choice(_NAMES))
    element.text = random.choice(_VALUES)
    return element


def _remove(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None and (parent := one.getparent()) is not None:
        parent.remove(one)


def _double(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None:
        for _ in range(random.choice((1, 1, 1, 2, 100))):
            one.addnext(deepcopy(one))


def _swap(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None and (other := one.getnext()) is not None:
        one.addprevious(other)


def _rename(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None:
        one.tag = _name(random)


def _rename_root(root: _Element, random: Random) -> None:
    root.tag = random.choice((f"{{{_FA3}}}faktura", f"{{{_FA3}}}Fa", "Faktura", f"{{{_FA3}}}Faktury"))


def _move(root: _Element, random: Random) -> None:
    one, place = _any(root, random), _any(root, random)
    if one is not None and place is not None and place not in {one, *one.iterdescendants()}:
        place.addnext(one)


def _move_inside(root: _Element, random: Random) -> None:
    one, place = _any(root, random), _any(root, random, leaf=False)
    if one is not None and place is not None and place not in {one, *one.iterdescendants()}:
        place.insert(random.randint(0, len(place)), one)


def _foreign(root: _Element, random: Random) -> None:
    one = _any(root, random)
    if one is not None:
        namespace = random.choice(_NAMESPACES)
        local = etree.QName(one).localname
        one.tag = f"{{{namespace}}}{local}" if namespace else local


def _foreign_all(root: _Element, random: Random) -> None:
    namespace = random.choice(_NAMESPACES)
    for one in root.iter(etree.Element):
        local = etree.QName(one).localname
        one.tag = f"{{{namespace}}}{local}" if namespace else local


def _empty(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None:
        for child in list(one):
            one.remove(child)
        one.text = random.choice((None, "", " ", "\n"))


def _nest(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None:
        one.insert(0, deepcopy(one))


def _insert(root: _Element, random: Random) -> None:
    if (one := _any(root, random)) is not None:
        one.addnext(_new(random))


def _insert_inside(root: _Element, random: Random) -> None:
    if (one := _any(root, random, leaf=random.random() < 0.3)) is not None:
        one.insert(random.randint(0, len(one)), _new(random))


def _text(root: _Element, random: Random) -> None:
    one = _any(root, random, leaf=False)
    if one is not None:
        words = random.choice(("x", "1", " ", "\n\t", "\u00a0", "&", "\u200b"))
        if random.random() < 0.5:
            one.text = words
        else:
            one[random.randrange(len(one))].tail = words


def _add_attribute(root: _Element, random: Random) -> None:
    one = root if random.random() < 0.3 else _any(root, random)
    if one is not None:
        one.set(*random.choice(_ATTRIBUTES))


def _drop_attribute(root: _Element, random: Random) -> None:
    having = [one for one in root.iter(etree.Element) if one.attrib]
    if having:
        one = random.choice(having)
        del one.attrib[random.choice(sorted(one.attrib))]


def _own_type(root: _Element, random: Random) -> None:
    """Name a type with xsi:type, right or wrong."""
    if (one := _any(root, random)) is not None and (parent := one.getparent()) is not None:
        space = random.choice((_FA3, _TYPES, "http://www.w3.org/2001/XMLSchema"))
        typed = etree.Element(
            one.tag, {str(name): str(value) for name, value in one.attrib.items()}, {"t": space, "xsi": _XSI}
        )
        typed.text, typed.tail = one.text, one.tail
        typed.extend(deepcopy(child) for child in one)
        typed.set(f"{{{_XSI}}}type", "t:" + random.choice((*_XSI_TYPES, "string", "decimal", "date", "anyType")))
        parent.replace(one, typed)


def _comment(root: _Element, random: Random) -> None:
    """Put a comment into the middle of a text."""
    one = _any(root, random, leaf=True)
    if one is not None and one.text:
        at = random.randint(0, len(one.text))
        comment = etree.Comment(random.choice(("", " uwaga ", "NIP")))
        comment.tail = one.text[at:]
        one.text = one.text[:at]
        one.insert(0, comment)


def _prune(root: _Element, random: Random) -> None:
    """Take away much at once."""
    for one in list(root.iterdescendants(etree.Element)):
        parent = one.getparent()
        if parent is not None and random.random() < 0.15:
            parent.remove(one)


MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "element removed": _on_tree(_remove),
    "element doubled": _on_tree(_double),
    "elements swapped": _on_tree(_swap),
    "element renamed": _on_tree(_rename),
    "root renamed": _on_tree(_rename_root),
    "element moved": _on_tree(_move),
    "element moved inside": _on_tree(_move_inside),
    "other namespace": _on_tree(_foreign),
    "all in another namespace": _on_tree(_foreign_all),
    "element emptied": _on_tree(_empty),
    "element nested": _on_tree(_nest),
    "element added": _on_tree(_insert),
    "element added inside": _on_tree(_insert_inside),
    "text between elements": _on_tree(_text),
    "attribute added": _on_tree(_add_attribute),
    "attribute removed": _on_tree(_drop_attribute),
    "xsi:type": _on_tree(_own_type),
    "comment inside a value": _on_tree(_comment),
    "much removed": _on_tree(_prune),
}

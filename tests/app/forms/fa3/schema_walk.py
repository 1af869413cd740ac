"""Walks through the official schema of FA(3) and writes, for each element it knows, a small valid document with that element.

Only what this schema uses: sequences, choices, named and inline types, extensions and attributes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lxml import etree

from app.forms.fa3.schema import FA3_NAMESPACE

_XS = "{http://www.w3.org/2001/XMLSchema}"
Element = etree._Element
Path = tuple[str, ...]

# Values that fit where a pattern or a bound would have to be solved for one.
_VALUES = {
    "TNrNIP": "5265877635",
    "TNIPIdWew": "5265877635-00001",
    "TNumerKSeF": "5265877635-20250826-0100001AF629-AF",
    "TNrVatUE": "1",
    "TNrRB": "1234567890",
    "SWIFT_Type": "AAAAPLPW",
    "TAdresEmail": "a@b.pl",
    "TNrREGON": "123456789",
    "TNrKRS": "1234567890",
    "TData": "2026-02-01",
    "TDataCzas": "2026-02-01T00:00:00Z",
    "TWybor1": "1",
    "LinkDoPlatnosci": "https://pay.example/?IPKSeF=123abcdefghij",
    "IPKSeF": "123abcdefghij",
}
_BUILT_IN = {"integer": "1", "decimal": "1", "byte": "1", "nonNegativeInteger": "1"}


@dataclass(frozen=True, slots=True)
class Place:
    """One place at which the schema knows an element. `required` tells whether its parent must have it."""

    path: Path
    definition: Element
    is_leaf: bool
    required: bool


@dataclass(slots=True)
class SchemaWalk:
    """The schema's definitions by name."""

    types: dict[str, Element] = field(default_factory=dict)
    root: Element | None = None

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> "SchemaWalk":
        """Read the definitions of all files; those of FA(3) itself go before shared ones of the same name."""
        walk = cls()
        documents = [etree.fromstring(content) for content in files.values()]
        documents.sort(key=lambda root: root.get("targetNamespace") == FA3_NAMESPACE)
        for document in documents:
            for child in document.iterchildren(f"{_XS}simpleType", f"{_XS}complexType"):
                walk.types[_key(document, child.get("name") or "")] = child
            for child in document.iterchildren(f"{_XS}element"):
                walk.root = child
        return walk

    def places(self) -> list[Place]:
        """Give every place of the schema, parents before children."""
        assert self.root is not None
        return list(self._places(self.root, (), required=True))

    def document(self, path: Path) -> Element:
        """Write a document that has what it must have, and the element at `path`."""
        assert self.root is not None
        assert path[0] == self.root.get("name")
        return self._write(self.root, path[1:])

    def _places(self, definition: Element, above: Path, *, required: bool) -> Iterator[Place]:
        path = (*above, definition.get("name") or "")
        particles = self._particles(definition)
        yield Place(path, definition, not particles, required)
        seen = set()
        for particle in particles:
            for child, must in _elements(particle, must=True):
                if child.get("name") not in seen:
                    seen.add(child.get("name"))
                    yield from self._places(child, path, required=must)

    def _write(self, definition: Element, wanted: Path) -> Element:
        element = etree.Element(f"{{{FA3_NAMESPACE}}}{definition.get('name')}", nsmap={None: FA3_NAMESPACE})  # type: ignore[dict-item]  # None is the default namespace, which the stubs forget
        particles = self._particles(definition)
        for attribute in self._attributes(definition):
            element.set(attribute.get("name") or "", attribute.get("fixed") or self._value(attribute))
        if not particles:
            element.text = self._value(definition)
        for particle in particles:
            self._fill(element, particle, wanted)
        return element

    def _fill(self, parent: Element, particle: Element, wanted: Path) -> None:
        name = wanted[0] if wanted else ""
        if particle.tag == f"{_XS}element":
            is_wanted = particle.get("name") == name
            already = parent.find(f"{{{FA3_NAMESPACE}}}{name}") is not None if is_wanted else False
            if (is_wanted and not already) or particle.get("minOccurs") != "0":
                parent.append(self._write(particle, wanted[1:] if is_wanted else ()))
            return
        inside = [child for child, _ in _elements(particle, must=True)]
        holds_wanted = bool(name) and any(child.get("name") == name for child in inside)
        if particle.get("minOccurs") == "0" and not holds_wanted:
            return
        options = [child for child in particle if child.tag in _PARTICLES]
        if particle.tag == f"{_XS}choice":
            fitting = [one for one in options if any(c.get("name") == name for c, _ in _elements(one, must=True))]
            options = (fitting or options)[:1]
        for option in options:
            self._fill(parent, option, wanted)

    def _type(self, definition: Element) -> Element | None:
        for inline in definition.iterchildren(f"{_XS}complexType", f"{_XS}simpleType"):
            return inline
        return self._named(definition, definition.get("type"))

    def _named(self, near: Element, name: str | None) -> Element | None:
        prefix, _, local = (name or "").rpartition(":")
        document = near.getroottree().getroot()
        namespace = near.nsmap.get(prefix or None, "")
        if namespace == "http://www.w3.org/2001/XMLSchema":
            return None
        return self.types.get(f"{{{namespace}}}{local}", self.types.get(_key(document, local)))

    def _particles(self, definition: Element) -> list[Element]:
        kind = self._type(definition)
        if kind is None or kind.tag != f"{_XS}complexType":
            return []
        return self._particles_of(kind)

    def _particles_of(self, kind: Element) -> list[Element]:
        found: list[Element] = []
        for child in kind:
            if child.tag in _PARTICLES:
                found.append(child)
            elif child.tag == f"{_XS}complexContent":
                (extension,) = child.iterchildren(f"{_XS}extension")
                base = self._named(extension, extension.get("base"))
                found += [] if base is None else self._particles_of(base)
                found += [part for part in extension if part.tag in _PARTICLES]
        return found

    def _attributes(self, definition: Element) -> list[Element]:
        kind = self._type(definition)
        if kind is None or kind.tag != f"{_XS}complexType":
            return []
        found = list(kind.iterchildren(f"{_XS}attribute"))
        for content in kind.iterchildren(f"{_XS}simpleContent"):
            found += content.iter(f"{_XS}attribute")
        return [one for one in found if one.get("use") == "required"]

    def _value(self, definition: Element) -> str:
        if (name := definition.get("name") or "") in _VALUES:
            return _VALUES[name]
        if definition.get("fixed"):
            return definition.get("fixed") or ""
        kind = self._type(definition)
        type_name = (definition.get("type") or "").rpartition(":")[2]
        while kind is not None:
            for known in (type_name, kind.get("name") or ""):
                if known in _VALUES:
                    return _VALUES[known]
            for allowed in kind.iter(f"{_XS}enumeration"):
                return allowed.get("value") or ""
            base = next(iter(kind.iter(f"{_XS}restriction", f"{_XS}extension")), None)
            type_name = (base.get("base") or "").rpartition(":")[2] if base is not None else ""
            kind = self._named(base, base.get("base")) if base is not None else None
        return _BUILT_IN.get(type_name, "a")


def plain_path(element: Element) -> str:
    """Give the XPath of an element without namespaces, written anew here: positions only among equal siblings."""
    steps = []
    current: Element | None = element
    while current is not None:
        parent = current.getparent()
        same = [] if parent is None else [one for one in parent if one.tag == current.tag]
        position = f"[{same.index(current) + 1}]" if len(same) > 1 else ""
        steps.append(etree.QName(current).localname + position)
        current = parent
    return "/" + "/".join(reversed(steps))


def lined(root: Element) -> bytes:
    """Write the document with each element on a line of its own."""
    return re.sub(rb">\s*<(?!/)", b">\n<", etree.tostring(root))


_PARTICLES = frozenset((f"{_XS}sequence", f"{_XS}choice", f"{_XS}element"))


def _key(document: Element, local: str) -> str:
    return f"{{{document.get('targetNamespace')}}}{local}"


def _elements(particle: Element, *, must: bool) -> Iterator[tuple[Element, bool]]:
    must = must and particle.get("minOccurs") != "0"
    if particle.tag == f"{_XS}element":
        yield particle, must
        return
    for child in particle:
        if child.tag in _PARTICLES:
            yield from _elements(child, must=must and particle.tag != f"{_XS}choice")

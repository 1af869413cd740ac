"""The whole schema as one regular expression, made from the official files when a process starts.

FA(3) has no recursion, and at each place the next tag determines what follows, so its plain documents are a regular
language. One match replaces parsing and libxml2's validation, in an eighth of their time. The expression
may refuse a valid document, which libxml2 then validates, but it never matches an invalid one: see `simple_types`.

Every repetition and every choice is atomic: since the next tag decides, backtracking is never needed, and no document can
make a match slow. They are written as groups, not as `?+` and the like, which before Python 3.11.5 match wrongly when
more than one character is repeated (CPython, issue 106052).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations
from typing import Final

from lxml import etree

from app.forms.fa3.fast_path.simple_types import NEVER, Facets, expression_of, literally
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.xsd.schema import UnusableSchemaError

_Element = etree._Element
_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_BLANKS: Final = r"[ \t\r\n]*+"
_MOST_ATTRIBUTES: Final = 3
# The supported elements of a schema and their attributes. The expression of any other matches nothing.
_COUNTED: Final = frozenset(("minOccurs", "maxOccurs"))
_UNDERSTOOD: Final = {
    "element": _COUNTED | {"name", "type", "fixed"},
    "sequence": _COUNTED,
    "choice": _COUNTED,
    "complexType": frozenset(("name",)),
    "simpleType": frozenset(("name",)),
    "simpleContent": frozenset[str](),
    "complexContent": frozenset[str](),
    "extension": frozenset(("base",)),
    "restriction": frozenset(("base",)),
    "union": frozenset[str](),
    "attribute": frozenset(("name", "type", "use", "fixed")),
}
_OF_THE_SCHEMA: Final = frozenset(
    f"{{{_XSD}}}{name}" for name in ("annotation", "import", "include", "simpleType", "complexType", "element")
)
_ONCE_EACH: Final = frozenset(
    (
        *("minLength", "maxLength", "whiteSpace", "totalDigits", "fractionDigits"),
        *("minInclusive", "maxInclusive", "minExclusive", "maxExclusive"),
    )
)


def compile_grammar(files: Mapping[str, bytes], groups: Mapping[str, str]) -> re.Pattern[str]:
    """Return the expression for a plain FA(3) document from behind the start tag of its root to its end.

    `files` are the schema files (content by name). `groups` names the elements whose text is to be captured: path below
    the root, such as `Fa/P_2`, to the name of the group; each must be required and occur once. Raises
    UnusableSchemaError when the files have no root element of FA(3).
    """
    return re.compile(_Grammar(files, groups).document())


class _Grammar:
    """The translation of the schema's types into expressions."""

    def __init__(self, files: Mapping[str, bytes], groups: Mapping[str, str]) -> None:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        self._groups = groups
        self._types: dict[str, _Element] = {}
        self._root: _Element | None = None
        self._is_understood = True
        self._open: list[str] = []
        """Names of the types in translation: a type within itself would have no end."""
        for content in files.values():
            schema = etree.fromstring(content, parser)
            namespace = schema.get("targetNamespace", "")
            self._is_understood &= namespace != FA3_NAMESPACE or _is_qualified(schema)
            for child in schema.iterchildren(etree.Element):
                # Redefinitions change types wherever they are used, and are not supported.
                self._is_understood &= child.tag in _OF_THE_SCHEMA
                if child.tag == _xsd("element") and namespace == FA3_NAMESPACE:
                    self._root = child
                elif child.tag in _TYPES:
                    self._types[f"{{{namespace}}}{child.get('name')}"] = child

    def document(self) -> str:
        if self._root is None:
            raise UnusableSchemaError(f"None of the schema files has the root element of {FA3_NAMESPACE}.")
        if not self._is_understood:
            return NEVER
        body = self._type_of(self._root, "")
        return f"{body}</{self._root.get('name')}>{_BLANKS}"

    def _type_of(self, element: _Element, path: str) -> str:
        """Return the expression for the content between the tags of an element."""
        if not _is_understood(element):
            return NEVER
        inner = list(_children(element))
        if (name := element.get("type")) is not None:
            made = NEVER if inner else self._named(_full_name(element, name), path)
        else:
            made = self._content(inner[0], path) if len(inner) == 1 and inner[0].tag in _TYPES else NEVER
        fixed = element.get("fixed")
        return made if fixed is None or made == NEVER else literally(fixed)

    def _named(self, name: str, path: str) -> str:
        if name.startswith(f"{{{_XSD}}}"):
            return expression_of(Facets(name.rpartition("}")[2]))
        kind = self._types.get(name)
        if kind is None or name in self._open or _own_attributes(kind):
            return NEVER
        # Elements declared by a type of another namespace belong to that namespace.
        if kind.tag == _xsd("complexType") and not name.startswith(f"{{{FA3_NAMESPACE}}}"):
            return NEVER
        self._open.append(name)
        made = self._content(kind, path)
        self._open.pop()
        return made

    def _content(self, kind: _Element, path: str) -> str:
        if kind.tag == _xsd("simpleType"):
            return expression_of(self._facets(kind))
        if not _is_understood(kind):
            return NEVER
        made = [self._piece(child, path) for child in _children(kind) if child.tag != _xsd("attribute")]
        if not made:
            # An element without content may not even contain a blank.
            return NEVER
        is_text = kind.find(_xsd("simpleContent")) is not None
        return "".join(made) if is_text else _BLANKS + "".join(made)

    def _piece(self, child: _Element, path: str) -> str:
        if not _is_understood(child):
            return NEVER
        if child.tag in {_xsd("sequence"), _xsd("choice"), _xsd("element")}:
            return self._particle(child, path)
        if child.tag in {_xsd("simpleContent"), _xsd("complexContent")}:
            (extension,) = _children(child)
            added = [one for one in _children(extension) if one.tag != _xsd("attribute")]
            if extension.tag == _xsd("extension") and _is_understood(extension) and not added:
                return self._named(_full_name(extension, extension.get("base", "")), path)
        return NEVER

    def _particle(self, particle: _Element, path: str) -> str:
        """Return the expression of a sequence, a choice or an element, repeated as often as allowed."""
        if particle.tag == _xsd("element"):
            made = self._element(particle, path)
        else:
            parts = [self._piece(child, path) for child in _children(particle)] or [NEVER]
            made = f"(?>{'|'.join(parts)})" if particle.tag == _xsd("choice") else "".join(parts)
        least, most = particle.get("minOccurs", "1"), particle.get("maxOccurs", "1")
        if (least, most) == ("1", "1"):
            return made
        if most == "0":
            return NEVER
        if (least, most) == ("0", "1"):
            return f"(?>{made}|)"
        return f"(?>(?:{made}){{{least},{'' if most == 'unbounded' else most}}})"

    def _element(self, element: _Element, path: str) -> str:
        name = element.get("name")
        if name is None:
            return NEVER
        path = f"{path}/{name}" if path else name
        body = self._type_of(element, path)
        if (group := self._groups.get(path)) is not None:
            body = f"(?P<{group}>{body})"
        return f"<{name}{self._attributes(element)}>{body}</{name}>{_BLANKS}"

    def _attributes(self, element: _Element) -> str:
        own = _own_attributes(element)
        if len(own) > _MOST_ATTRIBUTES or not all(map(_is_required, own)):
            return NEVER
        written = [f'{one.get("name")}="{self._attribute_value(one)}"' for one in own]
        orders = ["".join(f" {one}" for one in order) for order in permutations(written)]
        return orders[0] if len(orders) == 1 else f"(?>{'|'.join(orders)})"

    def _attribute_value(self, attribute: _Element) -> str:
        if (fixed := attribute.get("fixed")) is not None:
            return literally(fixed)
        own = attribute.find(_xsd("simpleType"))
        facets = None if own is None else self._facets(own)
        return expression_of(facets) if facets is not None and facets.values else NEVER

    def _facets(self, kind: _Element) -> Facets:
        """Return the parts of a simple type, down to the built-in type that it restricts."""
        derivations = list(_children(kind))
        if len(derivations) != 1 or not _is_understood(kind) or not _is_understood(derivations[0]):
            return Facets("unknown")
        (restriction,) = derivations
        if restriction.tag == _xsd("union"):
            return Facets("union", members=tuple(self._facets(member) for member in _children(restriction)))
        if restriction.tag != _xsd("restriction") or restriction.get("base") is None:
            return Facets("unknown")
        base = _full_name(restriction, restriction.get("base", ""))
        own = self._types.get(base)
        inner = Facets(base.removeprefix(f"{{{_XSD}}}")) if own is None else self._facets(own)
        given = [(_local(child), child.get("value", "")) for child in _children(restriction)]
        patterns = tuple(value for name, value in given if name == "pattern")
        values = tuple(value for name, value in given if name == "enumeration")
        limits = {name: value for name, value in given if name not in {"pattern", "enumeration"}}
        if inner.base == "unknown" or inner.members or not limits.keys() <= _ONCE_EACH:
            return Facets("unknown")
        # A list that is narrowed further or has a pattern: FA(3) has none.
        if (inner.values and (values or patterns or limits)) or (values and patterns):
            return Facets("unknown")
        return Facets(
            inner.base,
            inner.limits | limits,
            (*inner.patterns, patterns) if patterns else inner.patterns,
            values or inner.values,
        )


def _xsd(name: str) -> str:
    return f"{{{_XSD}}}{name}"


_TYPES: Final = frozenset((_xsd("simpleType"), _xsd("complexType")))


def _is_understood(part: _Element) -> bool:
    known = _UNDERSTOOD.get(_local(part))
    return known is not None and {str(name) for name in part.attrib} <= known | {"id"}


def _is_qualified(schema: _Element) -> bool:
    """Return whether elements belong to the schema's namespace and attributes to none."""
    return (
        schema.get("elementFormDefault") == "qualified"
        and schema.get("attributeFormDefault", "unqualified") == "unqualified"
    )


def _is_required(attribute: _Element) -> bool:
    return _is_understood(attribute) and attribute.get("name") is not None and attribute.get("use") == "required"


def _own_attributes(holder: _Element) -> list[_Element]:
    """Return the attributes that an element or a type declares; those of nested elements are not included."""
    return [one for one in holder.iter(_xsd("attribute")) if next(one.iterancestors(_xsd("element")), holder) is holder]


def _local(element: _Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: _Element) -> Iterator[_Element]:
    children: Iterable[_Element] = element.iterchildren(etree.Element)
    return (child for child in children if child.tag != _xsd("annotation"))


def _full_name(element: _Element, name: str) -> str:
    prefix, _, local = name.rpartition(":")
    return f"{{{element.nsmap.get(prefix or None, '')}}}{local}"

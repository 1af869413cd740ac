"""The whole schema as one regular expression, made from the official files when a process starts.

FA(3) has no recursion, and at each place the next tag tells what follows, so its documents, written plainly, are a regular
language. One match then does what parsing and libxml2's validation do together, in an eighth of their time. The expression
may refuse a valid document, which is then looked at by libxml2, but it never matches an invalid one: see `grammar_values`.

Every repetition and every choice is possessive: since the next tag decides, there is nothing to come back to, and no
document can make a match slow.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations
from typing import Final

from lxml import etree

from app.fa3.grammar_values import NEVER, Facets, expression_of, one_of
from app.fa3.schema import FA3_NAMESPACE, UnusableSchemaError

_Element = etree._Element
_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_BLANKS: Final = r"[ \t\r\n]*+"
_MOST_ATTRIBUTES: Final = 3
_ONCE_EACH: Final = frozenset(
    (
        *("minLength", "maxLength", "whiteSpace", "totalDigits", "fractionDigits"),
        *("minInclusive", "maxInclusive", "minExclusive", "maxExclusive"),
    )
)


def compile_grammar(files: Mapping[str, bytes], groups: Mapping[str, str]) -> re.Pattern[str]:
    """Return the expression for what stands in a plain FA(3) document behind the start tag of its root, to its end.

    `files` are the schema files (content by name). `groups` names the elements whose text is to be captured: path below
    the root, such as `Fa/P_2`, to the name of the group; each must be required and stand once. Raises
    UnusableSchemaError when the files have no root element of FA(3).
    """
    return re.compile(_Grammar(files, groups).document())


class _Grammar:
    """The schema's types by name, and how each part of them is written as an expression."""

    def __init__(self, files: Mapping[str, bytes], groups: Mapping[str, str]) -> None:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        self._groups = groups
        self._types: dict[str, _Element] = {}
        self._root: _Element | None = None
        for content in files.values():
            schema = etree.fromstring(content, parser)
            namespace = schema.get("targetNamespace", "")
            for child in schema.iterchildren(etree.Element):
                if child.tag == _xsd("element") and namespace == FA3_NAMESPACE:
                    self._root = child
                elif child.get("name"):
                    self._types[f"{{{namespace}}}{child.get('name')}"] = child

    def document(self) -> str:
        if self._root is None:
            raise UnusableSchemaError(f"None of the schema files has the root element of {FA3_NAMESPACE}.")
        body = self._type_of(self._root, "")
        return f"{body}</{self._root.get('name')}>{_BLANKS}"

    def _type_of(self, element: _Element, path: str) -> str:
        """Return what stands between the tags of an element."""
        if element.get("fixed") is not None:
            return re.escape(element.get("fixed", ""))
        inner = list(_children(element))
        if (name := element.get("type")) is not None:
            return NEVER if inner else self._named(_full_name(element, name), path)
        if len(inner) != 1 or inner[0].tag not in {_xsd("simpleType"), _xsd("complexType")}:
            return NEVER
        return self._content(inner[0], path)

    def _named(self, name: str, path: str) -> str:
        if name.startswith(f"{{{_XSD}}}"):
            return expression_of(Facets(name.rpartition("}")[2]))
        kind = self._types[name]
        return NEVER if _own_attributes(kind) else self._content(kind, path)

    def _content(self, kind: _Element, path: str) -> str:
        if kind.tag == _xsd("simpleType"):
            return expression_of(self._facets(kind))
        made = [self._piece(child, path) for child in _children(kind) if child.tag != _xsd("attribute")]
        is_text = kind.find(_xsd("simpleContent")) is not None
        return "".join(made) if is_text else _BLANKS + "".join(made)

    def _piece(self, child: _Element, path: str) -> str:
        if child.tag in {_xsd("sequence"), _xsd("choice"), _xsd("element")}:
            return self._particle(child, path)
        if child.tag in {_xsd("simpleContent"), _xsd("complexContent")}:
            (extension,) = _children(child)
            added = [one for one in _children(extension) if one.tag != _xsd("attribute")]
            if extension.tag == _xsd("extension") and not added:
                return self._named(_full_name(extension, extension.get("base", "")), path)
        return NEVER

    def _particle(self, particle: _Element, path: str) -> str:
        """Return a sequence, a choice or an element as often as it may come."""
        if particle.tag == _xsd("element"):
            made = self._element(particle, path)
        else:
            parts = [self._piece(child, path) for child in _children(particle)]
            made = f"(?>{'|'.join(parts)})" if particle.tag == _xsd("choice") else "".join(parts)
        least, most = particle.get("minOccurs", "1"), particle.get("maxOccurs", "1")
        if (least, most) == ("1", "1"):
            return made
        if (least, most) == ("0", "1"):
            return f"(?:{made})?+"
        return f"(?:{made}){{{least},{'' if most == 'unbounded' else most}}}+"

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
        if len(own) > _MOST_ATTRIBUTES or any(one.get("use") != "required" for one in own):
            return NEVER
        written = [f'{one.get("name")}="{self._attribute_value(one)}"' for one in own]
        orders = ["".join(f" {one}" for one in order) for order in permutations(written)]
        return orders[0] if len(orders) == 1 else f"(?>{'|'.join(orders)})"

    def _attribute_value(self, attribute: _Element) -> str:
        if (fixed := attribute.get("fixed")) is not None:
            return re.escape(fixed)
        own = attribute.find(_xsd("simpleType"))
        facets = None if own is None else self._facets(own)
        return one_of(facets.values) if facets is not None and facets.values else NEVER

    def _facets(self, kind: _Element) -> Facets:
        """Take a simple type apart, down to the built-in type that it comes from."""
        union = kind.find(_xsd("union"))
        if union is not None:
            if union.get("memberTypes"):
                return Facets("unknown")
            return Facets("union", members=tuple(self._facets(member) for member in _children(union)))
        restriction = kind.find(_xsd("restriction"))
        if restriction is None or restriction.get("base") is None:
            return Facets("unknown")
        base = _full_name(restriction, restriction.get("base", ""))
        own = self._types.get(base)
        inner = Facets(base.rpartition("}")[2]) if own is None else self._facets(own)
        given = [(_local(child), child.get("value", "")) for child in _children(restriction)]
        patterns = tuple(value for name, value in given if name == "pattern")
        values = tuple(value for name, value in given if name == "enumeration")
        limits = {name: value for name, value in given if name not in {"pattern", "enumeration"}}
        if inner.members or not limits.keys() <= _ONCE_EACH or (inner.values and (values or patterns or limits)):
            return Facets("unknown")
        return Facets(
            inner.base,
            inner.limits | limits,
            (*inner.patterns, patterns) if patterns else inner.patterns,
            # A pattern in the same step as a list could only shorten it; FA(3) has none.
            values if values and not patterns else inner.values,
        )


def _xsd(name: str) -> str:
    return f"{{{_XSD}}}{name}"


def _own_attributes(holder: _Element) -> list[_Element]:
    """Return the attributes that an element or a type declares; those of elements further in are theirs."""
    return [one for one in holder.iter(_xsd("attribute")) if next(one.iterancestors(_xsd("element")), holder) is holder]


def _local(element: _Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: _Element) -> Iterator[_Element]:
    children: Iterable[_Element] = element.iterchildren(etree.Element)
    return (child for child in children if child.tag != _xsd("annotation"))


def _full_name(element: _Element, name: str) -> str:
    prefix, _, local = name.rpartition(":")
    return f"{{{element.nsmap.get(prefix or None, '')}}}{local}"

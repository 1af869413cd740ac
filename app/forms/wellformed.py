"""Parsing of documents, and syntax errors in plain words."""

import re

from lxml import etree

from app.domain.findings import Finding
from app.forms.rules import finding

_TAGS_DIFFER = re.compile(r"tag mismatch: (\S+) line (\d+) and ([^\s,]+)")
_ENTITY = re.compile(r"Entity '([^']{1,60})' not defined")
_CHARACTER = re.compile(r"[Cc]har(?: value)? (\d+|0x[0-9A-Fa-f]+)")
_PREFIX = re.compile(r"Namespace prefix (\S{1,60})")
_CUT_IN = re.compile(r"Premature end of data in tag (\S+) line (\d+)")
_ATTRIBUTE = re.compile(r"[Aa]ttribute (?:'?)([^\s',]{1,60})")
_QNAME = re.compile(r"QName '([^']{1,60})'")
_MAX_NAME = 60
_NAMES: dict[int, str] = {
    value: name for name, value in vars(etree.ErrorTypes).items() if isinstance(value, int) and name[0] != "_"
}
_NOT_IN_QUOTES = ("the value of an attribute is not in quotes", "wartość atrybutu nie jest w cudzysłowie")
_DECLARATION = ("the XML declaration (<?xml ... ?>) is malformed", "deklaracja XML (<?xml ... ?>) jest źle zapisana")
_REFERENCE = (
    "a character reference (&#...;) is malformed",
    "odwołanie znakowe (&#...;) jest źle zapisane",
)
_BY_TYPE = {
    "ERR_DOCUMENT_EMPTY": ("there is no element in it", "nie ma w nim żadnego elementu"),
    "ERR_DOCUMENT_END": ("something follows the last element", "po ostatnim elemencie jest jeszcze treść"),
    "ERR_RESERVED_XML_NAME": (
        "the XML declaration does not stand at the very start",
        "deklaracja XML nie stoi na samym początku",
    ),
    "ERR_VERSION_MISSING": (
        'the XML declaration has no version, or not first: it must begin with <?xml version="1.0"',
        'deklaracja XML nie podaje wersji na początku: musi zaczynać się od <?xml version="1.0"',
    ),
    **dict.fromkeys(
        (
            *("ERR_XMLDECL_NOT_STARTED", "ERR_XMLDECL_NOT_FINISHED", "ERR_STRING_NOT_STARTED", "ERR_STRING_NOT_CLOSED"),
            *("ERR_EQUAL_REQUIRED", "ERR_ENCODING_NAME", "ERR_MISSING_ENCODING"),
        ),
        _DECLARATION,
    ),
    "ERR_STANDALONE_VALUE": (
        'the XML declaration says something else than standalone="yes" or "no"',
        'deklaracja XML podaje wartość standalone inną niż "yes" lub "no"',
    ),
    "ERR_MISPLACED_CDATA_END": (
        "]]> stands in the text; write ]]&gt;",
        "w tekście jest ciąg ]]>; należy pisać ]]&gt;",
    ),
    "ERR_HYPHEN_IN_COMMENT": (
        "two hyphens (--) stand inside a comment, which may have them only at its end",
        "wewnątrz komentarza są dwa łączniki (--), dozwolone tylko na jego końcu",
    ),
    "ERR_COMMENT_NOT_FINISHED": ("a comment has no end (-->)", "komentarz nie ma końca (-->)"),
    "ERR_CDATA_NOT_FINISHED": ("a CDATA section has no end (]]>)", "sekcja CDATA nie ma końca (]]>)"),
    "ERR_PI_NOT_FINISHED": ("a processing instruction has no end (?>)", "instrukcja przetwarzania nie ma końca (?>)"),
    "ERR_ENTITYREF_SEMICOL_MISSING": (
        "a bare & stands in the text; write &amp;",
        "w tekście stoi goły znak &; należy pisać &amp;",
    ),
    "ERR_ATTRIBUTE_REDEFINED": ("an attribute is given twice", "atrybut jest podany dwa razy"),
    "NS_ERR_ATTRIBUTE_REDEFINED": ("an attribute is given twice", "atrybut jest podany dwa razy"),
    "ERR_ATTRIBUTE_NOT_STARTED": _NOT_IN_QUOTES,
    "ERR_ATTRIBUTE_NOT_FINISHED": (
        "the value of an attribute has no closing quote",
        "wartość atrybutu nie ma zamykającego cudzysłowu",
    ),
    "ERR_ATTRIBUTE_WITHOUT_VALUE": ("an attribute has no value", "atrybut nie ma wartości"),
    "ERR_LT_IN_ATTRIBUTE": (
        "a < stands in the value of an attribute, or its closing quote is missing; write &lt;",
        "w wartości atrybutu jest znak < albo brakuje zamykającego cudzysłowu; należy pisać &lt;",
    ),
    "ERR_SPACE_REQUIRED": ("a blank is missing between two attributes", "brakuje odstępu między atrybutami"),
    "ERR_INVALID_HEX_CHARREF": _REFERENCE,
    "ERR_INVALID_DEC_CHARREF": _REFERENCE,
    "ERR_INVALID_CHARREF": _REFERENCE,
    "ERR_INVALID_CHAR": ("a character may not occur in XML", "jest w nim znak niedozwolony w XML"),
    "ERR_GT_REQUIRED": ("a tag is not complete: its > is missing", "znacznik nie jest kompletny: brakuje >"),
    "ERR_TAG_NOT_FINISHED": ("it ends before all elements are closed", "kończy się przed zamknięciem elementów"),
    "ERR_LTSLASH_REQUIRED": ("a closing tag is not complete", "znacznik zamykający nie jest kompletny"),
    "ERR_INVALID_ENCODING": ("its bytes are not UTF-8", "jego bajty to nie UTF-8"),
    "ERR_RESOURCE_LIMIT": ("its elements are nested too deeply", "jego elementy są zbyt głęboko zagnieżdżone"),
    "NS_ERR_XML_NAMESPACE": (
        "a namespace declaration (xmlns) is not allowed so",
        "deklaracja przestrzeni nazw (xmlns) jest niedozwolona",
    ),
}
_NAMES_REQUIRED = (
    (
        "element name",
        "a < begins no tag; in a text write &lt;, and begin the names of elements with a letter",
        "znak < nie zaczyna znacznika; w tekście należy pisać &lt;, a nazwy elementów zaczynać literą",
    ),
    (
        "attribute name",
        "a tag holds something that is no attribute, such as a / or a quote in the wrong place",
        "w znaczniku jest coś, co nie jest atrybutem, np. znak / lub cudzysłów w złym miejscu",
    ),
    (
        "",
        "a bare & or < stands in the text; write &amp; or &lt;",
        "w tekście stoi goły znak & lub <; należy pisać &amp; lub &lt;",
    ),
)
"""Words of libxml2 where it misses a name, and what they mean; the first that occur count."""


def make_parser(schema: etree.XMLSchema | None = None, *, recover: bool = False) -> etree.XMLParser:
    """Return a parser that reads UTF-8 independent of the prolog, expands no entities and opens no file or network.

    With a schema, the document is validated while it is parsed. With `recover`, a document cut off
    in the middle is read as far as it goes.
    """
    return etree.XMLParser(
        recover=recover,
        encoding="utf-8",
        schema=schema,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
    )


def explain_syntax_error(error: etree.XMLSyntaxError, document: bytes) -> Finding:
    """Return the finding for a document that cannot be parsed: the first fault, since later ones follow from it.

    Raises MemoryError when an allocation failed, since that is no fault of the document.
    """
    text = error.msg or ""
    kind = _name_of(error)
    if kind == "ERR_NO_MEMORY":
        raise MemoryError(text)
    line, column = error.position
    if kind == "ERR_DOCUMENT_END":
        english, polish = _behind_root(document, line, column)
    else:
        english, polish = _reasons(kind, text)
    return finding(
        "not-well-formed",
        line=line or None,
        raw=text,
        english_reason=english,
        polish_reason=polish,
        column=column,
    )


def _behind_root(document: bytes, line: int, column: int) -> tuple[str, str]:
    """Return what follows the last element at this place."""
    start = 0
    for _ in range(line - 1):
        start = document.find(b"\n", start) + 1
    rest = document[start : start + 4 * column + _MAX_NAME].decode("utf-8", "replace")[column - 1 :]
    if rest.startswith("</"):
        return (
            "a closing tag follows that closes nothing",
            "po ostatnim elemencie jest znacznik, który niczego nie zamyka",
        )
    if found := re.match(r"<([^\s<>/!?]{1,60})", rest):
        return (
            f"a second root element <{found[1]}> follows; a document has only one",
            f"jest w nim drugi element główny <{found[1]}>; dokument ma tylko jeden",
        )
    if rest[:1] and rest[0] != "<":
        return "text follows the last element", "po ostatnim elemencie jest tekst"
    return _BY_TYPE["ERR_DOCUMENT_END"]


def _name_of(error: etree.XMLSyntaxError) -> str:
    code: int = getattr(error, "code", 0) or 0  # missing from the stubs
    return _NAMES.get(code, "")


def _reasons(kind: str, text: str) -> tuple[str, str]:
    """Return the reason in English and Polish: with the names that the message has, else by the kind of the fault."""
    named = _named_reason(kind, text)
    if named is not None:
        return named
    if kind == "ERR_NAME_REQUIRED":
        return next((english, polish) for words, english, polish in _NAMES_REQUIRED if words in text)
    if kind == "ERR_SPACE_REQUIRED" and "attributes" not in text:
        return _DECLARATION
    if "depth" in text:
        return _BY_TYPE["ERR_RESOURCE_LIMIT"]
    return _BY_TYPE.get(kind, ("it breaks the rules of XML here", "w tym miejscu łamie zasady XML"))


def _named_reason(kind: str, text: str) -> tuple[str, str] | None:
    made: tuple[str, str] | None = None
    if found := _TAGS_DIFFER.search(text):
        opened, line, closed = found[1][:_MAX_NAME], found[2], found[3][:_MAX_NAME]
        made = (
            f"<{opened}> of line {line} is closed by </{closed}>",
            f"<{opened}> z wiersza {line} jest zamykany przez </{closed}>",
        )
    elif found := _CUT_IN.search(text):
        name, line = found[1][:_MAX_NAME], found[2]
        made = (
            f"it ends before <{name}> of line {line} is closed",
            f"kończy się przed zamknięciem <{name}> z wiersza {line}",
        )
    elif found := _ENTITY.search(text):
        made = f"&{found[1]}; is not defined", f"&{found[1]}; nie jest zdefiniowane"
    elif kind == "ERR_INVALID_CHAR" and (found := _CHARACTER.search(text)):
        code = f"U+{int(found[1], 0):04X}"
        made = f"the character {code} may not occur in XML", f"znak {code} nie może wystąpić w XML"
    elif kind == "NS_ERR_UNDEFINED_NAMESPACE" and (found := _PREFIX.search(text)):
        made = f"the prefix {found[1]} is not declared", f"przedrostek {found[1]} nie jest zadeklarowany"
    elif kind == "NS_ERR_QNAME" and (found := _QNAME.search(text)):
        made = f"{found[1]} is no valid name", f"{found[1]} nie jest poprawną nazwą"
    elif kind.endswith("ATTRIBUTE_REDEFINED") and (found := _ATTRIBUTE.search(text)):
        made = f"the attribute {found[1]} is given twice", f"atrybut {found[1]} jest podany dwa razy"
    elif kind == "ERR_ATTRIBUTE_WITHOUT_VALUE" and (found := _ATTRIBUTE.search(text)):
        made = f"the attribute {found[1]} has no value", f"atrybut {found[1]} nie ma wartości"
    return made

"""Parsing of documents, and syntax errors in plain words."""

import re

from lxml import etree

from app.domain.findings import Finding
from app.forms.rules import finding

_TAGS_DIFFER = re.compile(r"tag mismatch: (\S{1,60}) line (\d+) and (\S{1,60})")
_ENTITY = re.compile(r"Entity '([^']{1,60})' not defined")
_CHARACTER = re.compile(r"[Cc]har(?: value)? (\d+|0x[0-9A-Fa-f]+)")
_PREFIX = re.compile(r"Namespace prefix (\S{1,60})")
_NAMES: dict[int, str] = {
    value: name for name, value in vars(etree.ErrorTypes).items() if isinstance(value, int) and name[0] != "_"
}
_BY_TYPE = {
    "ERR_DOCUMENT_EMPTY": ("there is no element in it", "nie ma w nim żadnego elementu"),
    "ERR_DOCUMENT_END": ("something follows the last element", "po ostatnim elemencie jest jeszcze treść"),
    "ERR_RESERVED_XML_NAME": (
        "the XML declaration does not stand at the very start",
        "deklaracja XML nie stoi na samym początku",
    ),
    "ERR_NAME_REQUIRED": (
        "a bare & or < stands in the text; write &amp; or &lt;",
        "w tekście stoi goły znak & lub <; należy pisać &amp; lub &lt;",
    ),
    "ERR_ENTITYREF_SEMICOL_MISSING": (
        "a bare & stands in the text; write &amp;",
        "w tekście stoi goły znak &; należy pisać &amp;",
    ),
    "ERR_ATTRIBUTE_REDEFINED": ("an attribute is given twice", "atrybut jest podany dwa razy"),
    "ERR_ATTRIBUTE_NOT_STARTED": (
        "the value of an attribute is not in quotes",
        "wartość atrybutu nie jest w cudzysłowie",
    ),
    "ERR_GT_REQUIRED": ("a start tag is not complete", "znacznik otwierający nie jest kompletny"),
    "ERR_TAG_NOT_FINISHED": ("it ends before all elements are closed", "kończy się przed zamknięciem elementów"),
    "ERR_INVALID_ENCODING": ("its bytes are not UTF-8", "jego bajty to nie UTF-8"),
    "ERR_RESOURCE_LIMIT": ("its elements are nested too deeply", "jego elementy są zbyt głęboko zagnieżdżone"),
}


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


def explain_syntax_error(error: etree.XMLSyntaxError) -> Finding:
    """Return the finding for a document that cannot be parsed: the first fault, since later ones follow from it.

    Raises MemoryError when an allocation failed, since that is no fault of the document.
    """
    text = error.msg or ""
    kind = _name_of(error)
    if kind == "ERR_NO_MEMORY":
        raise MemoryError(text)
    line, column = error.position
    english, polish = _reasons(kind, text)
    return finding(
        "not-well-formed",
        line=line or None,
        raw=text,
        english_reason=english,
        polish_reason=polish,
        column=column,
    )


def _name_of(error: etree.XMLSyntaxError) -> str:
    code: int = getattr(error, "code", 0) or 0  # missing from the stubs
    return _NAMES.get(code, "")


def _reasons(kind: str, text: str) -> tuple[str, str]:
    if found := _TAGS_DIFFER.search(text):
        opened, line, closed = found.groups()
        return (
            f"<{opened}> of line {line} is closed by </{closed}>",
            f"<{opened}> z wiersza {line} jest zamykany przez </{closed}>",
        )
    if found := _ENTITY.search(text):
        return f"&{found[1]}; is not defined", f"&{found[1]}; nie jest zdefiniowane"
    if kind == "ERR_INVALID_CHAR" and (found := _CHARACTER.search(text)):
        code = f"U+{int(found[1], 0):04X}"
        return f"the character {code} may not occur in XML", f"znak {code} nie może wystąpić w XML"
    if kind == "NS_ERR_UNDEFINED_NAMESPACE" and (found := _PREFIX.search(text)):
        return f"the prefix {found[1]} is not declared", f"przedrostek {found[1]} nie jest zadeklarowany"
    if "depth" in text:
        return _BY_TYPE["ERR_RESOURCE_LIMIT"]
    return _BY_TYPE.get(kind, ("it breaks the rules of XML here", "w tym miejscu łamie zasady XML"))

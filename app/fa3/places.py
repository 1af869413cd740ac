"""Where an element stands: its line and its path."""

import re
from xml.parsers import expat

from lxml import etree

# libxml2 keeps the line of an element in 16 bits.
LAST_KNOWN_LINE = 65_535
# Put in the place of an element that was taken out of the tree, so that paths of its siblings stay right.
REMOVED = "taken out: "

_STEP = re.compile(r"([^\[/]+)(?:\[(\d+)\])?")


def local_name(element: etree._Element) -> str:
    """Return the name of an element without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2]


def path_of(element: etree._Element) -> str:
    """Return the XPath of an element without namespaces; a position only where siblings have the same name."""
    steps: list[str] = []
    current: etree._Element | None = element
    while current is not None:
        tag = current.tag
        parent = current.getparent()
        step = local_name(current)
        if parent is not None:
            # An element that was taken out (see schema_check) still counts: the reader's document has it.
            marker = f"{REMOVED}{tag}"
            before = sum(1 for _ in current.itersiblings(tag, preceding=True)) + _count_removed(current, marker, True)
            if before or next(current.itersiblings(tag), None) is not None or _count_removed(current, marker, False):
                step = f"{step}[{before + 1}]"
        steps.append(step)
        current = parent
    return "/" + "/".join(reversed(steps))


def find_by_node_path(root: etree._Element, node_path: str | None) -> etree._Element | None:
    """Return the element that libxml2 means by a path such as `/*/*[5]/ns:x[2]`, or None."""
    if not node_path:
        return None
    steps = _STEP.findall(node_path)
    current = root
    for name, position in steps[1:]:
        tag = _tag_of_step(current, name)
        wanted = int(position) if position else 1
        for index, child in enumerate(current.iterchildren(tag), start=1):
            if index == wanted:
                current = child
                break
        else:
            return None
    return current


def line_of_element(element: etree._Element, document: bytes) -> int | None:
    """Return the line, from 1, where the element's start tag ends, also in documents of more than 65,535 lines."""
    line: object = element.sourceline  # the stubs have the type wrong
    if not isinstance(line, int):
        return None
    if line < LAST_KNOWN_LINE:
        return line
    for order, other in enumerate(element.getroottree().iter(etree.Element)):
        if other is element:
            return _line_of_nth_element(document, order)
    return None


def _tag_of_step(parent: etree._Element, name: str) -> str:
    if name == "*":
        return "*"
    prefix, colon, local = name.rpartition(":")
    if not colon:
        return name
    for child in parent.iterchildren("{*}" + local):
        if child.prefix == prefix:
            return child.tag
    return name


def _count_removed(element: etree._Element, marker: str, preceding: bool) -> int:
    return sum(1 for other in element.itersiblings(etree.Comment, preceding=preceding) if other.text == marker)


def _line_of_nth_element(document: bytes, order: int) -> int | None:
    """Count start tags with expat, which knows long documents' lines. The document has no DTD by now."""
    found: list[int] = []
    parser = expat.ParserCreate("UTF-8")
    seen = 0

    def on_start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal seen
        if seen == order:
            found.append(parser.CurrentLineNumber)
        seen += 1

    parser.StartElementHandler = on_start
    try:
        parser.Parse(document, True)
    except expat.ExpatError:
        return None
    return found[0] if found else None

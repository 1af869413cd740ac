"""The place of an element: its line and its path."""

import re

from lxml import etree

# libxml2 keeps the line of an element in 16 bits; this value means "this line or later".
_UNKNOWN_LINE = 65_535
# Replaces an element that was removed from the tree, so that paths of its siblings stay right.
REMOVED = "taken out: "

# A name of the schema has at most 26 characters; an arbitrary document's may have thousands.
_MAX_STEP = 60
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
        step = local_name(current)[:_MAX_STEP]
        if parent is not None:
            before = _count_same(current, tag, preceding=True)
            if before or _count_same(current, tag, preceding=False):
                step = f"{step}[{before + 1}]"
        steps.append(step)
        current = parent
    return "/" + "/".join(reversed(steps))


def find_by_node_path(root: etree._Element, node_path: str | None) -> etree._Element | None:
    """Return the element at a path of libxml2 such as `/*/*[5]/ns:x[2]`, or None."""
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


def line_of_element(element: etree._Element) -> int | None:
    """Return the line, from 1, where the element's start tag ends; None where libxml2 has no line.

    Beyond line 65,535 libxml2 infers the line from texts nearby: it can be off by one, or unknown.
    """
    line: object = element.sourceline  # the stubs have the type wrong
    return line if isinstance(line, int) and line != _UNKNOWN_LINE else None


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


def _count_same(element: etree._Element, tag: str, *, preceding: bool) -> int:
    # A removed element (see schema_check) still counts, since the sender's document has it.
    count = 0
    for other in element.itersiblings(tag, etree.Comment, preceding=preceding):
        count += other.tag == tag or other.text == f"{REMOVED}{tag}"
        if not preceding and count:
            break
    return count

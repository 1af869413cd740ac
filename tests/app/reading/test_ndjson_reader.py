"""Lines come out one by one, whatever lies between them."""

import json
from collections.abc import Callable

from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
Entries = Callable[..., list[RawEntry]]


def test_blank_lines_are_passed_over_and_line_ends_may_be_any(verdicts_of: Verdicts) -> None:
    body = b'\xef\xbb\xbf{"name": "a", "xml": "<a/>"}\r\n\r\n  \n{"xml": "<b/>"}\n\n{"name": "c", "xml": "<c/>"}'
    assert verdicts_of(BodyKind.NDJSON, body) == [("a", b"<a/>"), ("line-4", b"<b/>"), ("c", b"<c/>")]


def test_a_bad_line_is_refused_alone(verdicts_of: Verdicts) -> None:
    body = b'{"xml": "<a/>"}\n<a/>\n{"xml": "<c/>"}\n'
    assert verdicts_of(BodyKind.NDJSON, body) == [
        ("line-1", b"<a/>"),
        ("line-2", "line-not-json"),
        ("line-3", b"<c/>"),
    ]


def test_a_line_too_long_is_passed_over_without_holding_it(entries_of: Entries, limits: ReadingLimits) -> None:
    body = b'{"xml": "<a/>"}\n' + b"x" * 5_000_000 + b'\n{"xml": "<c/>"}\n'
    first, long, last = entries_of(BodyKind.NDJSON, body)
    assert (first.fault, last.fault) == (None, None)
    assert long.fault is not None
    assert (long.fault.rule, long.payload, long.name) == ("line-too-long", b"", "line-2")
    assert last.payload == b'{"xml": "<c/>"}'


def test_a_line_of_the_largest_document_is_taken(verdicts_of: Verdicts, limits: ReadingLimits) -> None:
    content = b"<" + b"\n" * (limits.max_document_bytes - 1)
    body = b'{"xml": "%s"}' % content.replace(b"\n", b"\\n")
    assert verdicts_of(BodyKind.NDJSON, body) == [("line-1", content)]


def test_many_blank_lines_cost_little_and_are_counted(entries_of: Entries) -> None:
    body = b'{"xml": "<a/>"}\n' + b" \r\n" * 1_000_000 + b'  {"xml": "<b/>"}'
    read = entries_of(BodyKind.NDJSON, body)
    assert [(entry.index, entry.name) for entry in read] == [(0, "line-1"), (1, "line-1000002")]


def test_a_line_of_polish_letters_that_are_all_escaped_is_taken(verdicts_of: Verdicts, limits: ReadingLimits) -> None:
    text = "<" + "ż" * ((limits.max_document_bytes - 1) // 2)
    line = json.dumps({"name": "a.xml", "xml": text}).encode()
    assert len(line) > 2.9 * limits.max_document_bytes
    assert verdicts_of(BodyKind.NDJSON, line) == [("a.xml", text.encode())]


def test_a_line_with_a_key_twice_is_refused(verdicts_of: Verdicts) -> None:
    body = b'{"xml": "<a/>", "xml": "<b/>"}\n{"xml": "<c/>"}\n'
    assert verdicts_of(BodyKind.NDJSON, body) == [("line-1", "line-key-twice"), ("line-2", b"<c/>")]

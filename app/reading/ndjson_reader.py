"""NDJSON: each line is one document. Lines go to the pool unparsed."""

from collections.abc import Iterator
from typing import Final

from app.reading import faults
from app.reading.entry import Encoding, RawEntry
from app.reading.ndjson_head import HEAD_BYTES, fault_of_head, is_wide, wide_lines
from app.reading.passed_over import Passed
from app.reading.read_budget import ReadBudget
from app.reading.source import Source

_BOM: Final = b"\xef\xbb\xbf"
_BLANK_BYTES: Final = 1 << 16


def read_ndjson(source: Source, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield one entry for each line that is not blank. A line beyond the limit becomes a fault and is not loaded.

    Raises UnreadableUpload before the first entry when the first lines are in UTF-16 or UTF-32 or are no NDJSON at all, and at
    a later line in UTF-16 or UTF-32.
    """
    head = source.read_at(0, HEAD_BYTES)
    if (fault := fault_of_head(head, whole=len(head) < HEAD_BYTES, offset=source.start)) is not None:
        raise fault
    limit = budget.limits.max_line_bytes
    number = 0
    position = 0
    while position < source.size:
        number += 1
        begin = position
        end = source.find(b"\n", begin, keep=begin)
        if end < 0:
            end = source.size
        position = end + 1
        if end - begin > limit:
            index = budget.admit(0, source.start + begin)
            if budget.wanted(index):
                yield RawEntry(index, f"line-{number}", Encoding.NDJSON_LINE, b"", fault=faults.LINE_TOO_LONG)
            continue
        line = source.read_at(begin, end - begin)
        if number == 1:
            line = line.removeprefix(_BOM)
        if not line or line.isspace():
            # A gigabyte of line ends is passed over in blocks, not in lines.
            blank = source.some_at(position, _BLANK_BYTES)
            blank = blank[: len(blank) - len(blank.lstrip(b" \t\r\n"))]
            number += blank.count(b"\n")
            position += len(blank)
            budget.passed_over.note(Passed.BLANK_LINE, count=1 + blank.count(b"\n"))
            continue
        if b"\0" in line and is_wide(line):
            # A program that appends UTF-16 to a file of UTF-8.
            raise wide_lines("UTF-16 or UTF-32", number, source.start + begin)
        index = budget.admit(len(line), source.start + begin)
        if budget.wanted(index):
            yield RawEntry(index, f"line-{number}", Encoding.NDJSON_LINE, line)

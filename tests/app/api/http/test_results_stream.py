"""Results of any size: in constant memory, in their order, and safe to open in a spreadsheet."""

import csv
import io
import json
import re
import weakref
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect

from app.api.http.streaming import stream_answer
from app.api.routes.uploads import CSV_COLUMNS, _csv_lines, _json_lines
from app.domain.ids import parse_public_id
from app.store.store import Store
from app.store.uploads.invoices import InvoiceFilter, InvoiceStore
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill

MANY = 30_000


class _Page(list[Any]):
    """A list that can be watched."""


@pytest.mark.slow
async def test_thirty_thousand_results_are_never_held_together(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = await fill(store, alpha.tenant, clock(), count=MANY, finish=False)
    alive: weakref.WeakSet[_Page] = weakref.WeakSet()
    asked: list[int] = []
    page = InvoiceStore.page

    # Sets of lists need a hash; identity is the right one for watching.
    monkeypatch.setattr(_Page, "__hash__", object.__hash__)

    async def watched(self: InvoiceStore, *arguments: Any, **named: Any) -> _Page:
        made = _Page(await page(self, *arguments, **named))
        alive.add(made)
        asked.append(len(made))
        return made

    monkeypatch.setattr(InvoiceStore, "page", watched)
    wanted = InvoiceFilter(upload_id=parse_public_id("upl", filled.upload))
    for lines in (_json_lines, _csv_lines):
        asked.clear()
        numbers: list[str] = []
        most_alive = most_bytes = 0
        async for piece in lines(store.invoices.stream(alpha.tenant.id, wanted)):
            most_alive, most_bytes = max(most_alive, len(alive)), max(most_bytes, len(piece))
            numbers += _numbers(piece, as_json=lines is _json_lines)
        assert numbers == [f"FV/{position}" for position in range(MANY)]
        assert max(asked) <= 1_000
        assert most_alive <= 2
        assert most_bytes < 200_000


def _numbers(piece: bytes, *, as_json: bool) -> list[str]:
    if as_json:
        return [json.loads(line)["number"] for line in piece.splitlines()]
    rows = csv.reader(io.StringIO(piece.decode(), newline=""))
    return [row[3] for row in rows if row[3] != "number"]


async def _one(**changes: object) -> AsyncIterator[list[dict[str, Any]]]:
    yield [dict.fromkeys(CSV_COLUMNS) | {"findings": []} | changes]


@pytest.mark.parametrize("number", ["=HYPERLINK(1)", "+48/2026", "-1/2026", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
async def test_a_spreadsheet_is_given_no_formula_and_programs_the_number_itself(number: str) -> None:
    (piece,) = [part async for part in _csv_lines(_one(number=number, size=-1))]
    _, row = csv.reader(io.StringIO(piece.decode(), newline=""))
    assert row[CSV_COLUMNS.index("number")] == f"'{number}"
    assert row[CSV_COLUMNS.index("size")] == "-1"
    (line,) = [part async for part in _json_lines(_one(number=number))]
    assert json.loads(line)["number"] == number


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize(
    "number", ["FV/1;=1+1", "a,@SUM(A1)", "x\n-2", "x\t=1", 'x;"=1', "x; =1", "x;;+1", " =1", "\u00a0=1", "＝1", "a|=2"]
)
async def test_no_separator_that_a_spreadsheet_may_go_by_begins_a_formula(number: str, separator: str) -> None:
    (piece,) = [part async for part in _csv_lines(_one(number=number))]
    for row in csv.reader(io.StringIO(piece.decode(), newline=""), delimiter=separator):
        for cell in row:
            assert cell.lstrip(' "\u00a0\r\n')[:1] not in set("=+-@＝"), row


async def test_every_cell_is_quoted() -> None:
    (piece,) = [part async for part in _csv_lines(_one(number="1", size=5, upload=None))]
    for line in piece.decode().splitlines():
        assert re.fullmatch(r'"[^"]*"(,"[^"]*")*', line)


@pytest.mark.parametrize("number", ["FV/1", "1-2", "a=b", "'quoted'", 'zażółć, "gęślą"'])
async def test_other_numbers_are_written_as_they_are(number: str) -> None:
    (piece,) = [part async for part in _csv_lines(_one(number=number))]
    _, row = csv.reader(io.StringIO(piece.decode(), newline=""))
    assert row[CSV_COLUMNS.index("number")] == number


async def test_a_number_with_a_line_end_of_unicode_does_not_break_a_line_of_results() -> None:
    """Readers that go by Unicode, httpx among them, end lines at these; they may stand in an invoice's number."""
    rows = [{"number": "FV\u20281"}, {"number": "FV\u0085\u20292"}, {"number": "Ż"}]

    async def pages() -> AsyncIterator[list[dict[str, Any]]]:
        yield rows

    text = b"".join([piece async for piece in _json_lines(pages())]).decode()
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert "Ż" in text


async def test_the_content_of_an_answer_is_closed_when_its_client_goes() -> None:
    closed: list[str] = []

    async def content() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            closed.append("content")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    async def receive() -> Any:
        await anyio.sleep_forever()

    answer = await stream_answer(content(), media_type="text/plain", headers={})
    with pytest.raises((OSError, ClientDisconnect)):
        await answer({"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}, receive, send)
    assert closed == ["content"]

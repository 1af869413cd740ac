"""A client of server-sent events, written after the HTML standard (9.2.6, "Interpreting an event stream") and nothing of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Told:
    """One dispatched event."""

    id: str
    type: str
    data: str


@dataclass
class EventSource:
    """What a browser's EventSource keeps: it outlives connections."""

    last_event_id: str = ""
    retry: int | None = None
    comments: int = 0
    _data: list[str] = field(default_factory=list)
    _type: str = ""
    _id: str = ""

    def line(self, line: str) -> Told | None:
        """Take one line without its end."""
        if not line:
            self.last_event_id = self._id
            data, kind = self._data, self._type
            self._data, self._type = [], ""
            return Told(self._id, kind or "message", "\n".join(data)) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry = int(value)
        return None

    @asynccontextmanager
    async def connect(
        self, http: httpx.AsyncClient, path: str, **parameters: str
    ) -> AsyncIterator[AsyncIterator[Told]]:
        """Open the stream, from the last event id if there is one; what was not dispatched before is forgotten."""
        self._data, self._type, self._id = [], "", self.last_event_id
        headers = {"Accept": "text/event-stream"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        async with http.stream("GET", path, params=parameters, headers=headers) as answer:
            if answer.status_code != 200:
                await answer.aread()
                raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
            assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
            yield self._events(answer)

    async def _events(self, answer: httpx.Response) -> AsyncIterator[Told]:
        # Ends lines at more characters than the standard does, as clients in the wild do.
        async for line in answer.aiter_lines():
            told = self.line(line)
            if told is not None:
                yield told

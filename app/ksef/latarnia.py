"""Client of Latarnia, the ministry's status service for KSeF.

Latarnia has been down for hours while KSeF worked, and has reported no fault while KSeF was down. So no decision is based on
it: its report is only shown to people beside the availability measured by KSeF's own answers. It needs no login and no token.
Source: CIRFMF/ksef-latarnia, its OpenAPI description and issues 15, 28, 31, 35.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import httpx

from app.domain.timestamps import to_utc
from app.ksef.answers import Answer
from app.ksef.error_classification import classify, unreadable
from app.ksef.errors import KsefError
from app.ksef.transport import MAX_ERROR_BYTES, Call, LimitGroup, exchange, read_answer

DEADLINE_SECONDS: Final = 10.0
_MOST_MESSAGES: Final = 5
_LONGEST_TEXT: Final = 300

# Latarnia has no request limits; the group only names the kind of call.
_STATUS: Final = Call(LimitGroup.ANONYMOUS, "GET", "/status", frozenset({200}))
_MESSAGES: Final = Call(LimitGroup.ANONYMOUS, "GET", "/messages", frozenset({200}))


class LatarniaStatus(StrEnum):
    """The states that Latarnia reports."""

    AVAILABLE = "AVAILABLE"
    MAINTENANCE = "MAINTENANCE"
    FAILURE = "FAILURE"
    TOTAL_FAILURE = "TOTAL_FAILURE"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message of the ministry, shortened. Times are in UTC; None when they cannot be read."""

    category: str
    title: str
    start: datetime | None
    end: datetime | None

    def is_over(self, now: datetime) -> bool:
        """Return whether the announced event has ended."""
        return self.end is not None and self.end <= now


@dataclass(frozen=True, slots=True)
class LatarniaReport:
    """Latarnia's state, and its announcements that have not ended."""

    status: LatarniaStatus
    announcements: tuple[Announcement, ...]


class Latarnia:
    """Client of the status service of one environment. `http` must be a client of its own."""

    def __init__(self, base_url: str, http: httpx.AsyncClient, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._deadline_seconds = deadline_seconds

    async def ask(self, now: datetime) -> LatarniaReport:
        """Request the state and the announcements. Raises a KsefError without an answer, or for an unreadable one.

        If only the announcements fail, the state is returned without them.
        """
        answer = await self._get(_STATUS)
        document = _json(answer)
        if not isinstance(document, dict) or document.get("status") not in tuple(LatarniaStatus):
            raise unreadable(answer, "it has no known state")
        found = _announcements(document.get("messages"))
        # The state is known at this point; a failure of the messages must not hide it.
        with suppress(KsefError):
            found += [one for one in _announcements(_json(await self._get(_MESSAGES))) if one.category == "MAINTENANCE"]
        lasting = dict.fromkeys(one for one in found if not one.is_over(now))
        return LatarniaReport(LatarniaStatus(document["status"]), tuple(lasting)[:_MOST_MESSAGES])

    async def _get(self, call: Call) -> Answer:
        request = self._http.build_request(call.method, f"{self._base_url}{call.path_template}")
        async with exchange(
            self._http, request, call, deadline_seconds=self._deadline_seconds, on_request=None
        ) as response:
            answer = await read_answer(call.operation, response, MAX_ERROR_BYTES)
        if answer.status not in call.expect or answer.is_html:
            raise classify(answer)
        if answer.truncated:
            raise unreadable(answer, f"the body is longer than {MAX_ERROR_BYTES} bytes")
        return answer


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise unreadable(answer, "it is not JSON") from error


def _announcements(messages: object) -> list[Announcement]:
    listed = messages if isinstance(messages, list) else []
    return [
        Announcement(
            str(one.get("category", ""))[:_LONGEST_TEXT],
            str(one.get("title", ""))[:_LONGEST_TEXT],
            _parse_time(one.get("start")),
            _parse_time(one.get("end")),
        )
        for one in listed
        if isinstance(one, dict)
    ]


def _parse_time(value: object) -> datetime | None:
    """Parse a time; without an offset it is UTC (ksef-latarnia, issue 24)."""
    try:
        return to_utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None

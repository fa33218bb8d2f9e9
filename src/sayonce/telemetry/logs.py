"""Logs to standard error: readable on a terminal, JSON elsewhere; ours and the libraries' in one form."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import stamina
import structlog
from structlog.typing import Processor

# No caller hands a text or a secret to a log (law 8); these names are struck out should one ever do.
_SECRET = frozenset(
    {"api_key", "apikey", "authorization", "input", "key", "password", "secret", "sig", "text", "token", "url"}
)
# Says of each aborted answer what our own event says already.
_KNOWN_ABORT = "ASGI callable returned without completing response."


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of ours. Its events go through the standard library's logging, so that a program which embeds
    sayonce decides what becomes of them."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def configure(level: str, style: str) -> None:
    """Sets up all logging of the process. `style` is `console`, `json`, or `auto`: console on a terminal."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(console),
            ],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    stamina.instrumentation.set_on_retry_hooks([])  # a failed attempt has an event of ours
    for library in ("httpx", "httpcore", "alembic", "stamina", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _strike_secrets,
    ]


def _rendering(console: bool) -> list[Processor]:
    if console:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]


def _strike_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event.keys() & _SECRET:
        event[name] = "…"
    return event


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != _KNOWN_ABORT

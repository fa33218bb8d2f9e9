"""Logs to standard error: readable on a terminal, JSON elsewhere; ours and the libraries' in one form."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import stamina
import structlog
from structlog.typing import Processor

from sayonce.errors import SayonceError

# No caller hands a text or a secret to a log (law 8); these names are struck out should one ever do.
_SECRET = frozenset(
    {"api_key", "apikey", "authorization", "input", "key", "password", "secret", "sig", "text", "token", "url"}
)
# How many lines of an exception's way are told, the innermost.
_MOST_FRAMES = 30
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


def configure(level: str, style: str, replica: str | None = None) -> None:
    """Sets up all logging of the process. `style` is `console`, `json`, or `auto`: console on a terminal. Each line
    names the `replica`, if it has a name."""
    if replica is not None:
        structlog.contextvars.bind_contextvars(replica=replica)
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
    for library in ("httpx", "httpcore", "alembic", "stamina", "asyncio", "taskiq"):
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
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if console else None
    return [_where, renderer or structlog.processors.JSONRenderer()]


def _where(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its type and the lines that it came by. What a local variable held, or a foreign exception
    says, may be a text or a key: that stays out (law 8)."""
    told = event.pop("exc_info", None)
    error = told[1] if isinstance(told, tuple) else told
    if error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_lines(error))
    return event


def _lines(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _lines(cause)
        yield "which led to"
    for frame in traceback.extract_tb(error.__traceback__, limit=-_MOST_FRAMES):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    told = f": {error}" if isinstance(error, SayonceError) else ""
    yield f"{type(error).__module__}.{type(error).__qualname__}{told}"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _lines(part)


def _strike_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event.keys() & _SECRET:
        event[name] = "…"
    return event


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != _KNOWN_ABORT

"""`sayonce worker`."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.errors import InvalidSettings
from sayonce.redaction import shown
from sayonce.settings import Settings
from sayonce.telemetry import logs


def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="How many texts are spoken at a time; else `queue_at_once`.")
    ] = None,
) -> None:
    """Speak what is queued, without serving anybody.

    Any number of workers, on any number of machines, work on the queue in the Redis of `REDIS_URL`, beside gateways
    with the same catalog and storage. What a worker that died was speaking, another takes over. Told to stop
    (SIGTERM), it ends what it has begun, and hands back the rest.
    """
    settings = configuration.load()
    logs.configure(settings.log_level, settings.log_format, settings.replica_name)
    if settings.redis_url is None:
        raise InvalidSettings(
            "There is no queue for a worker to work on: a gateway without Redis speaks by itself what is queued.",
            remedy="Set REDIS_URL, for the gateways and their workers.",
        )
    loops.run(_work(settings, concurrency or settings.queue_at_once), own_signals=True)


async def _work(settings: Settings, at_once: int) -> None:
    from sayonce.app import running  # which takes a moment to load
    from sayonce.batch.streams import StreamLine

    stop = _told_to_stop()
    async with running(settings) as gateway, gateway.queue.tended(), gateway.clockwork.running():
        line = gateway.queue.line
        assert isinstance(line, StreamLine)
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold]sayonce worker[/bold] speaks {at_once} texts at a time from the queue at "
            f"[bold cyan]{shown(settings.redis_url)}[/]  (Ctrl-C stops it)"
        )
        await line.work(gateway.speaker.speak, at_once, stop, settings.shutdown_seconds)


def _told_to_stop() -> asyncio.Event:
    """Set when the process is told to stop; who interrupts it once more waits for nothing."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def heed() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heed)
    return stop

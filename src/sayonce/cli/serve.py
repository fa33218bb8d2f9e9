"""`sayonce serve`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sayonce import settings as configuration
from sayonce.redaction import shown
from sayonce.telemetry import logs


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The folder of the catalog and of local audio.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many processes serve.")] = None,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
    listener: Annotated[int, typer.Option(hidden=True)] = -1,
    folder: Annotated[Path, typer.Option(hidden=True)] = Path(),
) -> None:
    """Start the gateway.

    Point any OpenAI client at it: `base_url = "http://127.0.0.1:8700/v1"`. With no vendor configured it speaks
    with the local voice; with `OPENAI_API_KEY` set it speaks with OpenAI's, and pays for each sentence once.
    A SIGHUP makes it load its settings anew.
    """
    from sayonce.api import server  # FastAPI takes a moment to load, which no other command needs

    given = {"host": host, "port": port, "data_dir": data_dir, "workers": workers}
    told = {name: value for name, value in given.items() if value is not None}

    def load() -> configuration.Settings:
        settings = configuration.load(**told)
        logs.configure(settings.log_level, settings.log_format, settings.replica_name)
        return settings

    if hasattr(signal, "SIGHUP") and worker is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can heed it
    settings = load()
    if worker is not None:
        _end_with_the_supervisor()
        server.run(load, lambda _: None, server.Worker(worker, listener, folder))
    elif settings.workers > 1:
        from sayonce.cli.workers import supervise

        environment = {configuration.environment(name): str(value) for name, value in told.items()}
        sys.exit(supervise(settings, environment, lambda address: _announce(address, settings)))
    else:
        server.run(load, lambda address: _announce(address, settings))


def _end_with_the_supervisor() -> None:
    """Its signals are this process's again, and its end is this process's end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def wait() -> None:
        os.read(0, 1)  # nothing is ever written there
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


def _announce(address: str, settings: configuration.Settings) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold]sayonce[/bold] listens on [bold cyan]{address}[/]  (Ctrl-C stops it)")
    console.print(f"  speaks with    {settings.speaker}")
    console.print(f"  keeps audio in {settings.data_dir if settings.storage == 'local' else shown(settings.storage)}")
    console.print(f"  try            curl {address}/v1/audio/speech -H 'Content-Type: application/json' \\")
    console.print(
        '                   -d \'{"model": "tts-1", "voice": "nova", "input": "Say it once."}\' -o hello.mp3'
    )

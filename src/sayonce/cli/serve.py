"""`sayonce serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sayonce import settings as configuration
from sayonce.telemetry import logs


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The folder of the catalog and of local audio.")] = None,
) -> None:
    """Start the gateway.

    Point any OpenAI client at it: `base_url = "http://127.0.0.1:8700/v1"`. With no vendor configured it speaks
    with the local voice; with `OPENAI_API_KEY` set it speaks with OpenAI's, and pays for each sentence once.
    """
    from sayonce.api import server  # FastAPI takes a moment to load, which no other command needs

    given = {"host": host, "port": port, "data_dir": data_dir}
    settings = configuration.load(**{name: value for name, value in given.items() if value is not None})
    logs.configure(settings.log_level, settings.log_format)
    server.run(settings, lambda address: _announce(address, settings))


def _announce(address: str, settings: configuration.Settings) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold]sayonce[/bold] listens on [bold cyan]{address}[/]  (Ctrl-C stops it)")
    console.print(f"  speaks with    {settings.speaker}")
    console.print(f"  keeps audio in {settings.data_dir}")
    console.print(f"  try            curl {address}/v1/audio/speech -H 'Content-Type: application/json' \\")
    console.print(
        '                   -d \'{"model": "tts-1", "voice": "nova", "input": "Say it once."}\' -o hello.mp3'
    )

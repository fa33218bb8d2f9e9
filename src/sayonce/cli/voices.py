"""`sayonce voices`."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sayonce import settings as configuration


def voices(
    upstream: Annotated[str | None, typer.Argument(help="Only this upstream's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the voices that can be asked for, as `upstream/voice`."""
    found = asyncio.run(_voices(upstream))
    if as_json:
        print(json.dumps(found))  # noqa: T201
        return
    table = Table("voice", "name", "languages", "gender", box=None, header_style="bold")
    for voice in found:
        table.add_row(voice["voice"], voice["name"], ", ".join(voice["languages"]), voice["gender"] or "")
    Console().print(table)


async def _voices(upstream: str | None) -> list[dict[str, Any]]:
    from sayonce.app import running
    from sayonce.speech.requests import SpeechRequest

    async with running(configuration.load()) as gateway:
        if upstream is not None:
            gateway.cast.addressed(SpeechRequest(text="", upstream=upstream))
        return [
            {
                "voice": f"{name}/{voice.id}",
                "name": voice.name,
                "languages": list(voice.languages),
                "gender": voice.gender,
            }
            for name, provider in gateway.cast.upstreams.items()
            if upstream in (None, name)
            for voice in await provider.voices() or ()
        ]

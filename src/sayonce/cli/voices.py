"""`sayonce voices`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sayonce import loops
from sayonce import settings as configuration
from sayonce.errors import ProviderError
from sayonce.providers.contract import Provider


def voices(
    upstream: Annotated[str | None, typer.Argument(help="Only this upstream's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the voices that can be asked for, as `upstream/voice`."""
    found = loops.run(_voices(upstream))
    if as_json:
        print(json.dumps(found))  # noqa: T201
        return
    table = Table("voice", "name", "languages", "gender", box=None, header_style="bold")
    for voice in found:
        table.add_row(voice["voice"], voice["name"], ", ".join(voice["languages"]), voice["gender"] or "")
    Console().print(table)


async def _voices(upstream: str | None) -> list[dict[str, Any]]:
    from sayonce.app import running

    async with running(configuration.load()) as gateway:
        if upstream is not None:
            return await _of(gateway.cast.upstream(upstream))
        found: list[dict[str, Any]] = []
        for provider in gateway.cast.upstreams.values():
            try:
                found += await _of(provider)
            except ProviderError as error:  # the others' are listed all the same
                typer.secho(str(error), fg="yellow", err=True)
        return found


async def _of(provider: Provider) -> list[dict[str, Any]]:
    return [
        {
            "voice": f"{provider.upstream.name}/{voice.id}",
            "name": voice.name,
            "languages": list(voice.languages),
            "gender": voice.gender,
        }
        for voice in await provider.voices() or ()
    ]

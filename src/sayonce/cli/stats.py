"""`sayonce stats`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sayonce import settings as configuration


def stats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what is kept, how often it was asked for, what it cost and saved."""
    found = asyncio.run(_stats())
    if as_json:
        print(json.dumps(found))  # noqa: T201
        return
    console = Console(highlight=False)
    console.print(
        f"[bold]{found['entries']:,}[/] clips kept, {found['bytes'] / 1e6:,.1f} MB, "
        f"{found['seconds'] / 60:,.1f} minutes; "
        f"hit rate [bold]{found['hit_rate']:.1%}[/], saved [bold green]{found['saved']:.4f} {found['currency']}[/]"
    )
    table = Table("upstream", box=None, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for name, count in found["by_upstream"].items():
        table.add_row(name, *(_cell(count[column]) for column in _COLUMNS))
    console.print(table)


_COLUMNS = ("hits", "joined", "misses", "bypassed", "errors", "characters", "spent", "saved")


def _cell(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


async def _stats() -> Mapping[str, Any]:
    from sayonce.client import EmbeddedClient

    async with EmbeddedClient(configuration.load()) as client:
        return await client.statistics()

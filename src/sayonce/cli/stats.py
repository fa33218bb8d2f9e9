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
    """Show what is kept, how often it was asked for, what it cost and saved, and what storing it costs."""
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
    if found["by_storage"]:
        _print_storages(console, found)


def _print_storages(console: Console, found: Mapping[str, Any]) -> None:
    table = Table("storage", box=None, header_style="bold")
    for column in ("copies", "MB", "USD a GB", "a month"):
        table.add_column(column, justify="right")
    for name, held in found["by_storage"].items():
        price, cost = ("unknown" if held[key] is None else f"{held[key]:,.4f}" for key in ("usd_gb_month", "cost"))
        table.add_row(name, f"{held['blobs']:,}", f"{held['bytes'] / 1e6:,.1f}", price, cost)
    console.print()
    console.print(table)
    net = round(found["net"], 4) + 0.0  # no "-0.0000"
    known = all(held["cost"] is not None for held in found["by_storage"].values())
    console.print(
        f"saved {found['saved']:.4f}, less {found['storage_cost']:.4f} for a month of storage"
        f"{'' if known else ', as far as its price is known'}: [bold]{net:.4f} {found['currency']}[/]"
    )


_COLUMNS = ("hits", "joined", "misses", "bypassed", "errors", "characters", "spent", "saved")


def _cell(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


async def _stats() -> Mapping[str, Any]:
    from sayonce.client import EmbeddedClient

    async with EmbeddedClient(configuration.load()) as client:
        return await client.statistics()

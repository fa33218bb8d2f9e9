"""`sayonce stats`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sayonce import loops
from sayonce import settings as configuration

_COLUMNS = ("hits", "joined", "misses", "bypassed", "errors", "characters", "spent", "saved")
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"))
# How much of a text is shown.
_SHOWN = 40


def stats(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what is kept and most used, how often it was asked for, what it cost, saved, and costs to store."""
    found = loops.run(_stats())
    if as_json:
        print(json.dumps(found))  # noqa: T201
        return
    console = Console(highlight=False)
    _print_sums(console, found)
    _print_upstreams(console, found)
    if found["most_used"]:
        _print_most_used(console, found)
    if found["by_storage"]:
        _print_storages(console, found)


def _print_sums(console: Console, found: Mapping[str, Any]) -> None:
    console.print(
        f"[bold]{found['entries']:,}[/] clips kept, {_size(found['bytes'])}, {found['seconds'] / 60:,.1f} minutes"
        f"{_besides(found)}"
    )
    console.print(
        f"hit rate [bold]{found['hit_rate']:.1%}[/], {found['average_hits']:,.1f} hits a clip; saved "
        f"[bold green]{found['saved']:.4f} {found['currency']}[/] and {found['saved_seconds'] / 60:,.1f} minutes of "
        "speaking"
    )


def _besides(found: Mapping[str, Any]) -> str:
    told = [f"{found[what]:,} {what}" for what in ("pinned", "expired") if found[what]]
    return f" ({', '.join(told)})" if told else ""


def _print_upstreams(console: Console, found: Mapping[str, Any]) -> None:
    table = _table("upstream", *_COLUMNS)
    for name, count in found["by_upstream"].items():
        table.add_row(name, *(_cell(count[column]) for column in _COLUMNS))
    console.print()
    console.print(table)


def _print_most_used(console: Console, found: Mapping[str, Any]) -> None:
    table = _table("most used", "voice", "hits", "size", "last used")
    for entry in found["most_used"]:
        table.add_row(
            Text(_title(entry)),
            Text(f"{entry['provider']}/{entry['voice'] or ''}"),
            f"{entry['hits']:,}",
            _size(entry["size"]),
            datetime.fromtimestamp(entry["used_at"]).strftime("%Y-%m-%d %H:%M"),
        )
    console.print()
    console.print(table)


def _title(entry: Mapping[str, Any]) -> str:
    """The text on one line, as far as it fits, or the hash where the text is not kept, or not to be told."""
    if entry["text"] is None:
        return str(entry["content_hash"])[:16]
    line = "".join(sign if sign.isprintable() else " " for sign in entry["text"])
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _print_storages(console: Console, found: Mapping[str, Any]) -> None:
    table = _table("storage", "copies", "MB", "USD a GB", "a month")
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


def _table(first: str, *columns: str) -> Table:
    table = Table(first, box=None, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _size(size: int) -> str:
    unit, name = next(each for each in _UNITS if size >= each[0] or each is _UNITS[-1])
    return f"{size / unit:,.1f} {name}"


def _cell(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


async def _stats() -> Mapping[str, Any]:
    from sayonce.client import EmbeddedClient

    async with EmbeddedClient(configuration.load()) as client:
        return await client.statistics()

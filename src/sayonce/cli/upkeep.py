"""`sayonce upkeep` and `sayonce invalidate`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.app import running
from sayonce.cache.upkeep import Report
from sayonce.catalog.records import Selection
from sayonce.errors import InvalidRequest
from sayonce.units import span

_TOLD = {
    "expired": "assets whose time was over",
    "copies": "copies of others whose time was over",
    "uses": "uses whose time was over",
    "evicted": "assets to make room",
    "swept": "blobs that no row named",
}


def upkeep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    sweep_all: Annotated[bool, typer.Option("--sweep-all", help="Sweep, however much there is to sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what expired, what is too much, and what nobody names any more.

    A running gateway does it by itself once an hour. It does no harm to run it beside that.
    """
    console = Console(stderr=True, highlight=False)
    with console.status("upkeep …"):
        report = loops.run(_run(dry=dry_run, sweep_all=sweep_all))
    if as_json:
        print(json.dumps(asdict(report)))  # noqa: T201
        return
    console.print("[bold]would delete[/]" if dry_run else "[bold]deleted[/]")
    for name, what in _TOLD.items():
        console.print(f"  {getattr(report, name):>9,}  {what}")
    console.print(f"  {report.bytes / 1e6:>9,.1f}  MB of assets")
    if report.left:
        console.print(f"[yellow]{report.left:,} blobs that no row names were left[/]: sayonce upkeep --sweep-all")
    if report.unknown:
        console.print(
            f"[yellow]{report.unknown:,} blobs were left that landed while nobody used this catalog[/]: where it is "
            "restored from a copy, sayonce adopt; else sayonce upkeep --sweep-all"
        )
    for storage in report.unreachable:
        console.print(f"[red]the storage '{storage}' did not answer[/]: sayonce doctor")


def invalidate(
    tenant: Annotated[str | None, typer.Option(help="Of that tenant.")] = None,
    collection: Annotated[str | None, typer.Option(help="Of that collection.")] = None,
    session: Annotated[str | None, typer.Option(help="Of that session.")] = None,
    user: Annotated[str | None, typer.Option(help="Of that user.")] = None,
    voice: Annotated[str | None, typer.Option(help="In that voice.")] = None,
    provider: Annotated[str | None, typer.Option(help="Spoken by that upstream.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Made longer ago than '30d', say.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many it is.")] = False,
) -> None:
    """Remove every asset of which all that is told holds; what is asked for again is spoken, and paid for, anew."""
    which = Selection(tenant, collection, session, user, voice, provider, made_before(older_than))
    if which == Selection():
        raise InvalidRequest("Nothing was selected.", remedy="sayonce invalidate --help tells of the options.")
    console = Console(stderr=True, highlight=False)
    with console.status("invalidating …"):
        number = loops.run(_invalidate(which, dry=dry_run))
    console.print(f"{'would remove' if dry_run else 'removed'} {number:,} assets")


async def _run(*, dry: bool, sweep_all: bool) -> Report:
    async with running(configuration.load(upkeep=False)) as gateway:
        return await gateway.upkeep.run(dry=dry, sweep_all=sweep_all)


async def _invalidate(which: Selection, *, dry: bool) -> int:
    async with running(configuration.load(upkeep=False)) as gateway:
        return await (gateway.catalog.selected(which) if dry else gateway.upkeep.invalidate(which))


def made_before(older_than: str | None) -> float | None:
    """What was made before that moment was made longer ago than such as '30d'."""
    if older_than is None:
        return None
    try:
        seconds = span(older_than)
    except ValueError as error:
        raise InvalidRequest(f"--older-than {error}.") from error
    if not isinstance(seconds, int | float):
        raise InvalidRequest("--older-than must be such as '30d', '12h', '5m'.")
    return time.time() - seconds

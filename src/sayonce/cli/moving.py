"""`sayonce move`: what is kept, into another storage."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from sayonce import loops
from sayonce import settings as configuration

if TYPE_CHECKING:
    from sayonce.app import Gateway
    from sayonce.cache.moving import Report, Route

_SHOWN = 50


def move(
    to: Annotated[str, typer.Option(help="A storage's name or URL.")],
    source: Annotated[str | None, typer.Option("--from", help="A storage's name or URL; else every other.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how much it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move what is kept to another storage, while it is served.

    Let every gateway know that storage first, and new audio go there: SAYONCE_STORAGE. It may be stopped at any time
    and run again.
    """
    report = loops.run(_move(to, source, dry=dry_run))
    if as_json:
        told = {name: getattr(report, name) for name in ("moved", "busy", "failed", "bytes")}
        print(json.dumps(told | {"left": [{"content_hash": name, "why": why} for name, why in report.left]}))  # noqa: T201
    else:
        _print(report, to, dry=dry_run)
    if report.failed:
        sys.exit(1)


async def _move(to: str, source: str | None, *, dry: bool) -> Report:
    from sayonce.app import running  # which takes a moment to load
    from sayonce.cache.moving import Report, Route
    from sayonce.chosen import storage_named

    settings = configuration.load(upkeep=False)
    async with running(settings) as gateway:
        storage_named(to, gateway.storages)
        if source is not None:
            storage_named(source, gateway.storages)
        number, size = await gateway.catalog.moves.count(to, source)
        if dry:
            return Report(moved=number, bytes=size)
        await gateway.storages[to].probe()
        # By then every gateway has read of it in the change log, or forgets everything.
        route = Route(to, source, grace=2 * settings.poll_seconds + 3.0, life=settings.lease_seconds)
        return await _watched(gateway, route, number)


async def _watched(gateway: Gateway, route: Route, number: int) -> Report:
    from sayonce.cache.moving import Moving, Report

    report = Report()
    with Progress(console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task(f"moving to {route.to}", total=number)
        async for report in Moving(gateway.catalog, gateway.shelf, gateway.storages, route).run():
            progress.update(task, completed=report.seen)
    return report


def _print(report: Report, to: str, *, dry: bool) -> None:
    console = Console(highlight=False)
    says = "would be moved" if dry else "moved"
    console.print(f"[bold green]{report.moved:,}[/] {says} to {to} ({report.bytes / 1e6:,.1f} MB)")
    if report.busy:
        console.print(f"[bold]{report.busy:,}[/] being spoken or removed now: run it again")
    if report.failed:
        console.print(f"[bold red]{report.failed:,}[/] left where they are")
    for name, why in report.left[:_SHOWN]:
        console.print(f"  {name}: {why}", markup=False, soft_wrap=True)

"""`sayonce export`: what is kept, as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from sayonce import loops
from sayonce import settings as configuration
from sayonce.catalog.records import Selection
from sayonce.cli.upkeep import made_before

if TYPE_CHECKING:
    from sayonce.batch.exporting import Report

_SHOWN = 50


def export(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or that of an earlier run.")],
    tenant: Annotated[str | None, typer.Option(help="Of that tenant.")] = None,
    collection: Annotated[str | None, typer.Option(help="Of that collection.")] = None,
    session: Annotated[str | None, typer.Option(help="Of that session.")] = None,
    user: Annotated[str | None, typer.Option(help="Of that user.")] = None,
    voice: Annotated[str | None, typer.Option(help="In that voice.")] = None,
    provider: Annotated[str | None, typer.Option(help="Spoken by that upstream.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Made longer ago than '30d', say.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write what is kept into a folder: audio files, and a manifest that `sayonce import` takes back unchanged.

    The manifest holds the spoken texts, as far as the catalog does. Nothing is removed from the catalog.
    """
    which = Selection(tenant, collection, session, user, voice, provider, made_before(older_than))
    report = loops.run(_export(folder, which, dry=dry_run))
    if as_json:
        told = {name: getattr(report, name) for name in ("written", "there", "failed", "bytes")}
        print(json.dumps(told | {"lost": [{"content_hash": name, "why": why} for name, why in report.lost]}))  # noqa: T201
    else:
        _print(report, dry=dry_run)
    if report.failed:
        sys.exit(1)


async def _export(folder: Path, which: Selection, *, dry: bool) -> Report:
    from sayonce.app import running  # which takes a moment to load
    from sayonce.batch.exporting import Exporting, Report

    report = Report()
    async with running(configuration.load(upkeep=False)) as gateway:
        total = await gateway.catalog.selected(which)
        with Progress(console=Console(stderr=True, highlight=False), transient=True) as progress:
            task = progress.add_task("exporting", total=total)
            async for report in Exporting(gateway.catalog, gateway.shelf, folder, dry=dry).run(which):
                progress.update(task, completed=report.seen)
    return report


def _print(report: Report, *, dry: bool) -> None:
    console = Console(highlight=False)
    says = "would be written" if dry else "written"
    console.print(f"[bold green]{report.written:,}[/] {says}, {report.there:,} there already ({_mb(report.bytes)})")
    if report.failed:
        console.print(f"[bold red]{report.failed:,}[/] could not be read")
    for name, why in report.lost[:_SHOWN]:
        console.print(f"  {name}: {why}", markup=False, soft_wrap=True)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

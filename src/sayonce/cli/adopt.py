"""`sayonce adopt`: a catalog from a bucket."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.settings import Settings
from sayonce.units import span

if TYPE_CHECKING:
    from sayonce.cache.adoption import Report

# How many broken blobs are named to people.
_NAMED = 20


def keep_span(told: str) -> float | None:
    """For how many seconds something is to be kept; None is forever."""
    try:
        found = span(told)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if isinstance(found, int | float) and found > 0:
        return float(found)
    if found is None:
        return None
    raise typer.BadParameter("must be more than nothing")


def adopt(
    storage: Annotated[str | None, typer.Option(help="A storage's name or URL; else where new audio goes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and tell only.")] = False,
    keep: Annotated[str, typer.Option(help="For how long: `forever`, or `30d`, `12h`, `5m`.")] = "forever",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build the catalog anew from what a storage holds.

    What is kept already is left alone, so it may be stopped and run again, also beside a running gateway. The storage
    knows no keys, tenants' limits, figures or spoken texts: those are lost with the old catalog.
    """
    settings = configuration.load()
    report = loops.run(_adopt(settings, storage or settings.storage, keep_span(keep), dry_run))
    if as_json:
        print(json.dumps(_told(report)))  # noqa: T201
    else:
        _print(report, dry=dry_run)


async def _adopt(settings: Settings, name: str, keep: float | None, dry: bool) -> Report:
    from sayonce.cache.adoption import Adoption, Manner, Report
    from sayonce.chosen import one_storage  # which takes a moment to load
    from sayonce.cluster.catalog_leases import CatalogLeases

    report, console = Report(), Console(stderr=True, highlight=False)
    async with one_storage(settings, name) as (catalog, storage):
        leases = CatalogLeases(catalog, settings.lease_seconds)
        with console.status(f"reading {name}") as status:
            async for report in Adoption(catalog, leases, storage, Manner(keep, dry), time.time).run():
                status.update(f"reading {name}: {report.seen:,} blobs, {report.count['adopted']:,} adopted")
    return report


@dataclass(frozen=True, slots=True)
class _Line:
    outcome: str
    says: str
    colour: str = "default"


_LINES = (
    _Line("adopted", "adopted", "green"),
    _Line("known", "known already"),
    _Line("kept", "left alone, since another recording of them is kept"),
    _Line("busy", "left alone, since they are being spoken or replaced now: run it again", "yellow"),
    _Line("broken", "broken, and left where they are", "red"),
    _Line("foreign", "foreign: nothing of sayonce's is told beside them"),
)


def _print(report: Report, *, dry: bool) -> None:
    console = Console(highlight=False)
    for line in _LINES:
        many = report.count[line.outcome]
        if many or line.outcome == "adopted":
            says = "would be adopted" if dry and line.outcome == "adopted" else line.says
            console.print(f"[bold {line.colour}]{many:,}[/] {says}")
    for path, why in report.broken[:_NAMED]:
        console.print(f"  {path}: {why}", markup=False, soft_wrap=True)


def _told(report: Report) -> dict[str, Any]:
    return {
        **{line.outcome: report.count[line.outcome] for line in _LINES},
        "catalogs": dict(report.catalogs),
        "broken_blobs": [{"path": path, "why": why} for path, why in report.broken],
    }

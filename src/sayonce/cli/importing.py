"""`sayonce import`: audio that was spoken elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from sayonce import loops
from sayonce import settings as configuration
from sayonce.cli.adopt import keep_span
from sayonce.errors import InvalidRequest
from sayonce.settings import Settings

if TYPE_CHECKING:
    from sayonce.app import Gateway
    from sayonce.batch.importing import Importing, Report
    from sayonce.batch.sources.contract import Source

# How many refused rows are shown to people.
_SHOWN = 50
_TOLD_OF_ALL = ("upstream", "model", "voice", "language", "format", "tenant", "scope")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be imported."""

    source: str
    table: str | None
    columns: Mapping[str, str]
    manifest: Path | None
    match: str | None
    storage: str | None


def bring(
    source: Annotated[str, typer.Argument(help="A folder, or the address of a database or of a Redis.")],
    table: Annotated[str | None, typer.Option(help="Of a database: which table.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="What is in which column: text=content_text.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="YAML, CSV or JSON Lines; else the folder's own.")] = None,
    match: Annotated[str | None, typer.Option(help="Of a Redis: what keys look like, `tts:{voice}:{text}`.")] = None,
    from_storage: Annotated[str | None, typer.Option(help="The storage that `path` is in.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Who spoke it, where the source does not tell.")] = None,
    model: Annotated[str | None, typer.Option(help="With which model, where it does not tell.")] = None,
    voice: Annotated[str | None, typer.Option(help="In which voice, where it does not tell.")] = None,
    language: Annotated[str | None, typer.Option(help="In which language, where it does not tell.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="In which format: mp3, mp3_44100_128, …")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose it is, where it does not tell.")] = None,
    scope: Annotated[str | None, typer.Option(help="Who may share it: tenant, shared, user, session.")] = None,
    keep: Annotated[str | None, typer.Option(help="For how long: `forever`, or `30d`, `12h`, `5m`.")] = None,
    doubtful: Annotated[bool, typer.Option("--doubtful", help="Take what is too long or short, flagged.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and tell only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring audio along that was spoken elsewhere, so that nobody pays for it again.

    Nothing that is kept is replaced, and what is there already is left alone: it may be stopped and run again, also
    beside a running gateway. Refused rows are told one by one; then the exit code is 1.
    """
    asked = _Asked(source, table, _columns(column or []), manifest, match, from_storage)
    told = dict(zip(_TOLD_OF_ALL, (upstream, model, voice, language, format_, tenant, scope), strict=True))
    report = loops.run(_import(asked, told, keep_span(keep or "forever"), doubtful=doubtful, dry=dry_run))
    if as_json:
        print(json.dumps(_told(report)))  # noqa: T201
    else:
        _print(report, dry=dry_run)
    if report.refused:
        sys.exit(1)


async def _import(
    asked: _Asked, told: Mapping[str, str | None], keep: float | None, *, doubtful: bool, dry: bool
) -> Report:
    from sayonce.app import running  # which takes a moment to load
    from sayonce.batch.importing import Manner
    from sayonce.batch.pieces import Reading, usual

    settings = configuration.load(upkeep=False)
    async with running(settings) as gateway, _source(asked, gateway) as source:
        manner = Manner(keep, dry, settings.lease_seconds, settings.keep_text)
        reading = Reading(gateway.cast, usual(source.head, told), doubtful=doubtful)
        return await _watched(_importing(gateway, reading, manner), source)


def _importing(gateway: Gateway, reading: Any, manner: Any) -> Importing:
    from sayonce.batch.importing import Importing
    from sayonce.cache.shelf import Place
    from sayonce.storage.paths import PathTemplate

    settings = gateway.settings
    place = Place(gateway.storages[settings.storage], PathTemplate(settings.path_template))
    return Importing(gateway.catalog, place, reading, manner, time.time)


async def _watched(importing: Importing, source: Source) -> Report:
    from sayonce.batch.importing import Report

    report = Report()
    with Progress(console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task("importing", total=await source.count())
        async for report in importing.run(source):
            _advance(progress, task, report)
    return report


def _advance(progress: Progress, task: TaskID, report: Report) -> None:
    told = ", ".join(f"{many:,} {name}" for name, many in report.count.items())
    progress.update(task, completed=report.seen, description=f"importing: {told}")


@asynccontextmanager
async def _source(asked: _Asked, gateway: Gateway) -> AsyncIterator[Source]:
    from sayonce.batch.sources.elsewhere import Addresses, Paths

    addresses = Addresses(gateway.settings.max_audio)
    try:
        fetchers: dict[str, Callable[[str], Awaitable[bytes]]] = {"url": addresses.fetch}
        if asked.storage is not None:
            from sayonce.chosen import storage_named

            fetchers["path"] = Paths(storage_named(asked.storage, gateway.storages)).fetch
        source = _opened(asked, gateway.settings, fetchers)
        try:
            yield source
        finally:
            await source.aclose()
    finally:
        await addresses.aclose()


def _opened(asked: _Asked, settings: Settings, fetchers: Any) -> Source:
    scheme = asked.source.partition("://")[0] if "://" in asked.source else ""
    if scheme in ("redis", "rediss", "unix"):
        from sayonce.batch.sources.keys import RedisKeys

        return RedisKeys(asked.source, asked.match, asked.manifest, asked.columns, settings.max_audio)
    if scheme:
        from sayonce.batch.sources.table import SqlTable

        if asked.table is None:
            raise InvalidRequest("It is not said which table.", param="table", remedy="Give it with --table.")
        return SqlTable(asked.source, asked.table, asked.columns, fetchers, settings.max_audio)
    from sayonce.batch.sources.folder import Folder

    return Folder(Path(asked.source), asked.manifest, asked.columns, settings.max_audio)


def _columns(told: Sequence[str]) -> Mapping[str, str]:
    columns = {}
    for each in told:
        ours, sign, theirs = each.partition("=")
        if not (ours and sign and theirs) or ours in columns:
            raise InvalidRequest(
                "--column is wrong.", param="column", remedy="Write each as text=content_text, once."
            )
        columns[ours] = theirs
    return columns


def _print(report: Report, *, dry: bool) -> None:
    console = Console(highlight=False)
    says = "would be imported" if dry else "imported"
    console.print(f"[bold green]{report.count['imported']:,}[/] {says} ({report.bytes / 1e6:,.1f} MB)")
    for outcome, told in (("known", "known already"), ("busy", "being spoken or removed now: run it again")):
        if report.count[outcome]:
            console.print(f"[bold]{report.count[outcome]:,}[/] {told}")
    if not report.refused:
        return
    console.print(f"[bold red]{report.count['refused']:,}[/] refused")
    for place, why in report.refused[:_SHOWN]:
        console.print(f"  {place}: {why}", markup=False, soft_wrap=True)
    if report.count["refused"] > _SHOWN:
        console.print("  … and more: --json tells of them")


def _told(report: Report) -> dict[str, Any]:
    count = {name: report.count[name] for name in ("imported", "known", "busy", "refused")}
    return {**count, "bytes": report.bytes, "rows": [{"row": place, "why": why} for place, why in report.refused]}

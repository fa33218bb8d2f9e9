"""`sayonce seed`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sayonce import loops
from sayonce import settings as configuration
from sayonce.catalog.collections import Tally
from sayonce.catalog.records import MICROS, Collection
from sayonce.errors import InvalidRequest
from sayonce.settings import Settings
from sayonce.telemetry import logs

if TYPE_CHECKING:
    from sayonce.app import Gateway
    from sayonce.batch.manifest import Manifest
    from sayonce.batch.plans import Plan
    from sayonce.catalog.collections import Item

# How often it is looked whether something holds a run up, in seconds.
_SELDOM = 1.0
# How many failures, and rows that say what others say, are told to people.
_TOLD = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says beside the manifest; what is empty the manifest says, or the settings."""

    path: Path
    tenant: str
    popular: int
    plan_only: bool
    most: float | None
    as_json: bool
    given: dict[str, object]


def seed(
    file: Annotated[Path, typer.Argument(help="The manifest: YAML, CSV or JSON Lines.", show_default=False)],
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what would be made and what it costs; pay nothing.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Refuse to begin what costs more, in the currency.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The collection's name; else the manifest's, or the file's.")
    ] = None,
    voice: Annotated[list[str] | None, typer.Option(help="In this voice; may be given more than once.")] = None,
    popular: Annotated[int, typer.Option(min=0, help="In so many voices, those most listened to, first them.")] = 0,
    audio_format: Annotated[
        list[str] | None, typer.Option("--format", help="In this format; may be repeated.")
    ] = None,
    keep: Annotated[str | None, typer.Option(help="For how long: `forever`, `30d`, `30d sliding`.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose collection it is.")] = "default",
    concurrency: Annotated[int | None, typer.Option(min=1, max=1_000, help="How many at a time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Speak a collection of texts ahead of time, once.

    What is kept already is not made again, so a run that was stopped or killed, begun again, makes only what is
    missing. Works on the same catalog as running gateways; with REDIS_URL, workers help. Exits with 1 if something
    could not be made. `sayonce seed examples/life-review.yaml --plan`
    """
    given: dict[str, object] = {"name": name, "voices": voice, "formats": audio_format, "keep": keep}
    wanted = Wanted(file, tenant, popular, plan, max_cost, as_json, given)
    logs.configure("error", "auto")  # what could not be made is told at the end
    settings = configuration.load(**({} if concurrency is None else {"queue_at_once": concurrency}))
    told = loops.run(_seed(settings, wanted))
    if as_json:
        print(json.dumps(told))  # noqa: T201
    elif not plan:
        _print_end(told, settings.currency)
    if told.get("failed"):
        raise typer.Exit(1)


async def _seed(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    from sayonce.app import running  # which takes a moment to load
    from sayonce.batch.manifest import Bounds, Manifest, head_of
    from sayonce.batch.rows import opened

    rows = opened(wanted.path)
    console = Console(stderr=True, highlight=False)
    async with running(settings) as gateway:
        head = head_of(rows, **wanted.given | await _popular(gateway, wanted))
        manifest = Manifest(head, rows, gateway.cast, Bounds(wanted.tenant, settings.max_text))
        with console.status("reading") as status:
            plan = await gateway.seeding.plan(manifest, lambda n: status.update(f"reading: {n:,} texts"))
        _print_plan(console if wanted.as_json else Console(highlight=False), plan, settings.currency)
        plan.refuse_dearer(wanted.most, settings.currency)
        if wanted.plan_only:
            return plan.told(settings.currency)
        run = _Run(gateway, Collection(wanted.tenant, head.name or wanted.path.stem), manifest, plan)
        return await run.told(console)


async def _popular(gateway: Gateway, wanted: Wanted) -> dict[str, object]:
    """The voices most listened to, where they are wanted."""
    if not wanted.popular:
        return {}
    if wanted.given["voices"]:
        raise InvalidRequest("There are two answers to which voices.", remedy="Give --voice or --popular, not both.")
    voices = await gateway.seeding.popular(wanted.tenant, wanted.popular)
    if not voices:
        raise InvalidRequest("No voice was listened to yet.", remedy="Name some with --voice.")
    return {"voices": voices}


class _Run:
    """One run, shown while it goes."""

    def __init__(self, gateway: Gateway, collection: Collection, manifest: Manifest, plan: Plan) -> None:
        self._gateway = gateway
        self._seeding = gateway.seeding
        self._collection = collection
        self._manifest = manifest
        self._plan = plan
        self._found = 0
        self._told: set[str] = set()

    async def told(self, console: Console) -> dict[str, Any]:
        """How it ended. Interrupted, it lets be what is not made."""
        async with self._worked():
            try:
                tally = await self._shown(console)
            except asyncio.CancelledError:
                await self._seeding.stop(self._collection)
                console.print("[yellow]Stopped.[/] Seed it again to make what is missing.")
                raise
        if tally.failed:
            await self._print_failures(console, tally)
        left = await self._left(tally)
        if left:
            console.print(f"  {left:,} are left: seed it again to make them")
        cost = None if self._plan.cost is None else tally.cost / MICROS
        return {
            "made": max(tally.kept - self._found, 0),
            "kept": self._plan.kept,
            "failed": tally.failed + left,
            "characters": tally.characters,
            "cost": cost,
        }

    async def _left(self, tally: Tally) -> int:
        """How many are not made, and nobody has tried in vain: given up, or stopped by another run."""
        if tally.kept - self._found >= self._plan.make:
            return 0
        missing = (await self._seeding.plan(self._manifest)).make
        return max(missing - tally.failed, 0)

    @asynccontextmanager
    async def _worked(self) -> AsyncIterator[None]:
        """Meanwhile this process works on what is to be made: as one of many, where others may, too."""
        gateway, settings = self._gateway, self._gateway.settings
        if not settings.redis_url:
            yield  # its line is worked on as soon as there is something
            return
        line, patience = gateway.queue.line, settings.shutdown_seconds
        async with gateway.queue.tended(), line.worked(gateway.speaker.speak, settings.queue_at_once, patience):
            yield

    async def _shown(self, console: Console) -> Tally:
        tally = Tally()
        with _progress(console) as progress:
            task = progress.add_task("writing down", total=self._plan.items, more="")
            self._found = await self._seeding.begin(
                self._collection, self._manifest, lambda n: progress.update(task, completed=n)
            )
            progress.update(task, description="speaking", completed=self._plan.kept)
            line = self._gateway.queue.line
            async for tally in self._seeding.watch(self._collection, _SELDOM, line.at_work):
                tried = tally.kept + tally.failed
                progress.update(task, completed=tried, total=max(tally.items, tried), more=self._more(tally))
                self._tell_trouble(progress.console)
        return tally

    def _tell_trouble(self, console: Console) -> None:
        """Says what it waits for, once each."""
        redis, held_up = self._gateway.meeting.trouble, self._gateway.speaker.held_up
        found = [f"{held_up.message} {held_up.remedy}".strip()] if held_up is not None else []
        found += ["Redis, whose queue holds what is to be made, does not answer."] if redis and redis() else []
        for trouble in found:
            if trouble not in self._told:
                self._told.add(trouble)
                console.print(f"waits: {trouble}", style="yellow", markup=False, soft_wrap=True)

    def _more(self, tally: Tally) -> str:
        currency = self._gateway.settings.currency
        parts = [f"{self._plan.kept:,} kept already", f"{tally.characters:,} characters"]
        parts += [f"{tally.cost / MICROS:.4f} {currency}"] if self._plan.cost is not None else []
        parts += [f"[red]{tally.failed:,} failed[/]"] if tally.failed else []
        return ", ".join(parts)

    async def _print_failures(self, console: Console, tally: Tally) -> None:
        items = await self._gateway.catalog.collections.failures(self._collection, _TOLD)
        numbers = {item.sequence for item in items}
        places = {
            text.sequence: text.place for text in self._manifest.texts(lambda *_: None) if text.sequence in numbers
        }
        for item in items:
            console.print(f"  {places.get(item.sequence, '?')}: {_why(item)}", markup=False, soft_wrap=True)
        if tally.failed > len(items):
            console.print(f"  … and {tally.failed - len(items):,} more")


def _print_end(told: Mapping[str, Any], currency: str) -> None:
    cost = "at no known price" if told["cost"] is None else f"for {told['cost']:.4f} {currency}"
    failed = f", [bold red]{told['failed']:,} failed[/]" if told["failed"] else ""
    Console(highlight=False).print(
        f"[bold green]{told['made']:,} made[/], {told['kept']:,} kept already{failed}; "
        f"{told['characters']:,} characters {cost}"
    )


def _why(item: Item) -> str:
    told = json.loads(item.failure or "{}")
    return f"{told.get('message', '')} {told.get('remedy', '')}".strip()


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[more]}"),
    )
    return Progress(*columns, console=console, transient=not console.is_terminal)


def _print_plan(console: Console, plan: Plan, currency: str) -> None:
    console.print(
        f"[bold]{plan.items:,}[/] to say: [green]{plan.kept:,} kept already[/], [bold]{plan.make:,}[/] to make"
    )
    for place in plan.same[:_TOLD]:
        console.print(f"  {place} says what an earlier one says: it is spoken once", markup=False)
    if not plan.paid:
        return
    table = Table("upstream", box=None, header_style="bold")
    for column in ("texts", "characters", "cost"):
        table.add_column(column, justify="right")
    for name, price in plan.paid.items():
        table.add_row(escape(name), f"{price.items:,}", f"{price.characters:,}", _money(price.cost, currency))
    console.print(table)


def _money(cost: int | None, currency: str) -> str:
    return "unknown" if cost is None else f"{cost / MICROS:.4f} {currency}"

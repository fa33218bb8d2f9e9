"""`sayonce lifecycle`: what a bucket does by itself with what is old."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.catalog.catalog import Catalog
from sayonce.errors import CatalogError
from sayonce.settings import Settings
from sayonce.storage import lifecycle
from sayonce.storage.contract import LifecycleRule, Storage

T = TypeVar("T")

app = typer.Typer(help="See and write a bucket's lifecycle rules.", no_args_is_help=True)
Where = Annotated[str | None, typer.Option("--storage", help="A storage's name or URL; else where new audio goes.")]


@app.command()
def show(storage: Where = None) -> None:
    """Show the rules that the storage's bucket has, and those that `apply` would write."""
    settings = configuration.load()
    name = storage or settings.storage
    there = _run(settings, name, _there)
    console = Console(highlight=False)
    console.print(f"{name} has", "rules:" if there else "none." if there == [] else "none, and can have none.")
    _list(console, there or ())
    if there is not None:
        wanted = _wanted(settings, name)
        console.print("The settings ask for", "the same." if wanted == there else "these:" if wanted else "none.")
        _list(console, () if wanted == there else wanted)


@app.command()
def apply(
    storage: Where = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write a rule that deletes without asking.")] = False,
) -> None:
    """Write the settings' rules to the storage's bucket, and read them back."""
    settings = configuration.load()
    name = storage or settings.storage
    wanted = _wanted(settings, name)
    console = Console(stderr=True, highlight=False)
    if _run(settings, name, _there) == wanted:
        console.print(f"{name} has these rules already.")
        return
    if lifecycle.deletes(wanted) and not yes:
        console.print(_warning(_run(settings, name, _kept_forever)))
        typer.confirm("Write the rule that deletes?", abort=True, err=True)
    _run(settings, name, lambda _, place: lifecycle.apply(place, wanted))
    console.print(f"{name} has", "these rules now:" if wanted else "no rules now.")
    _list(console, wanted)


def _wanted(settings: Settings, name: str) -> list[LifecycleRule]:
    return list(lifecycle.wanted(name, settings.all_storages.get(name, {}), settings.keep))


async def _there(_: Catalog, storage: Storage) -> list[LifecycleRule] | None:
    rules = await storage.lifecycle()
    return None if rules is None else list(rules)


async def _kept_forever(catalog: Catalog, storage: Storage) -> int | None:
    try:
        return await catalog.kept_forever(storage.name)
    except CatalogError:
        return None  # nobody needs to know it


def _run(settings: Settings, name: str, work: Callable[[Catalog, Storage], Awaitable[T]]) -> T:
    from sayonce.chosen import one_storage  # which takes a moment to load

    async def run() -> T:
        async with one_storage(settings, name) as parts:
            return await work(*parts)

    return loops.run(run())


def _warning(forever: int | None) -> str:
    said = "The bucket will delete what is older than the rule says, whether it is kept for good or not."
    if forever == 0:
        return said
    many = "What the catalog keeps" if forever is None else f"{forever:,} clips that the catalog keeps"
    return f"{said} {many} forever would go with it: whoever asks for one of them then pays for it again."


def _list(console: Console, rules: Sequence[LifecycleRule]) -> None:
    for rule in rules:
        console.print(f"  {lifecycle.shown(rule)}")

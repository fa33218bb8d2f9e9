"""`sayonce db`: the catalog's schema."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from rich.console import Console

from sayonce import loops
from sayonce import settings as configuration
from sayonce.catalog.database import Database
from sayonce.catalog.registry import connect
from sayonce.catalog.tables import SCHEMA_VERSION

T = TypeVar("T")

app = typer.Typer(help="See the version of the catalog's schema, and upgrade it.", no_args_is_help=True)


@app.command()
def current() -> None:
    """Show which version the catalog's schema is, and which this sayonce needs; exits with 1 where they differ."""
    found = _run(lambda database: database.version())
    Console(highlight=False).print(f"{found or 'empty'} (this sayonce needs {SCHEMA_VERSION})")
    if found != SCHEMA_VERSION:
        raise typer.Exit(1)


@app.command()
def upgrade() -> None:
    """Bring the catalog's schema to this version. Stop gateways of older versions first."""
    before = _run(lambda database: database.version())
    _run(lambda database: database.migrate())
    told = f"from {before or 'empty'} to {SCHEMA_VERSION}" if before != SCHEMA_VERSION else f"is {before} already"
    Console(stderr=True, highlight=False).print(f"the catalog's schema: {told}")


def _run(work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = connect(configuration.load().database)
        try:
            return await work(database)
        finally:
            await database.aclose()

    return loops.run(run())

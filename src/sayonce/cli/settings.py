"""`sayonce settings`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sayonce import loops
from sayonce import settings as configuration
from sayonce.settings_reading import refused
from sayonce.settings_table import Row
from sayonce.settings_table import table as rows_of


def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting, what it is now, and how to set it. Secrets are struck out.

    Where a gateway would not start with them it says why, and exits with 2.
    """
    settings = configuration.load()
    rows = rows_of(settings)
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))  # noqa: T201
    else:
        _print(rows)
    wrong = loops.run(_wrong(settings))
    if wrong:
        raise refused(wrong, configuration.config_file())


async def _wrong(settings: configuration.Settings) -> list[str]:
    """A line for each that a gateway would not start with."""
    from sayonce.checkup.settings import misfits  # which takes a moment to load

    found = [finding async for finding in misfits(settings)]
    return [f"{finding.what}: {finding.said} {finding.remedy}".rstrip() for finding in found]


def _print(rows: Sequence[Row]) -> None:
    table = Table("setting", "environment", "now", "what it is", box=None, header_style="bold")
    for row in rows:
        changed = row.value != row.default
        table.add_row(row.name, row.environment, f"[bold]{row.value}[/]" if changed else row.value, row.description)
    Console().print(table)
    Console().print(f"settings file: {configuration.config_file() or 'none (./sayonce.toml)'}", highlight=False)

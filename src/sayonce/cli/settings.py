"""`sayonce settings`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sayonce import settings as configuration
from sayonce.settings_table import table as rows_of


def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting, what it is now, and how to set it. Secrets are struck out."""
    rows = rows_of(configuration.load())
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))  # noqa: T201
        return
    table = Table("setting", "environment", "now", "what it is", box=None, header_style="bold")
    for row in rows:
        changed = row.value != row.default
        table.add_row(row.name, row.environment, f"[bold]{row.value}[/]" if changed else row.value, row.description)
    Console().print(table)
    Console().print(f"settings file: {configuration.config_file() or 'none (./sayonce.toml)'}", highlight=False)

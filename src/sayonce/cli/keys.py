"""`sayonce keys`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.access.tenants import refuse_nameless
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import ApiKey, Tenant
from sayonce.cli import tenants
from sayonce.cli.catalogs import at_work

app = typer.Typer(help="Make, list and revoke API keys; set tenants' limits.", no_args_is_help=True)
app.command("tenant")(tenants.put_tenant)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    label: Annotated[str, typer.Argument(help="What it is for.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose it is; a new tenant is made.")] = "default",
    role: Annotated[list[Role] | None, typer.Option(help="What it may do; may be given more than once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once, and kept nowhere.

    From the first key on, the gateway asks everybody for one.
    """
    refuse_nameless(tenant)

    async def make(catalog: Catalog) -> tuple[ApiKey, str]:
        if await catalog.tenant(tenant) is None:
            await catalog.put_tenant(Tenant(tenant))
        return await keys.create(catalog, tenant, label, role or [Role.SPEAK], time.time)

    row, key = at_work(make)
    if as_json:
        print(json.dumps({**_told(row), "key": key}))  # noqa: T201
        return
    print(key)  # noqa: T201
    Console(stderr=True, highlight=False).print(
        f"id {row.id}, tenant {row.tenant}, may {', '.join(sorted(row.roles))}"
    )


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, without the keys themselves."""
    found = at_work(lambda catalog: catalog.keys())
    if as_json:
        print(json.dumps([_told(row) for row in found]))  # noqa: T201
        return
    table = Table("id", "tenant", "label", "roles", "made", "revoked", box=None, header_style="bold")
    for row in found:
        table.add_row(
            row.id, row.tenant, row.label, ", ".join(sorted(row.roles)), _day(row.made_at), _day(row.revoked_at)
        )
    Console().print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, as `list` shows it.")]) -> None:
    """End a key for good."""
    at_work(lambda catalog: catalog.revoke_key(key_id))
    Console(stderr=True).print(f"revoked {key_id}")


def _told(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "label": row.label,
        "roles": sorted(row.roles),
        "made_at": row.made_at,
        "revoked_at": row.revoked_at,
    }


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")

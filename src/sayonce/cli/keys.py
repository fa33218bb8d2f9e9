"""`sayonce keys`."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from sayonce import settings as configuration
from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import ApiKey, Tenant
from sayonce.catalog.registry import connect
from sayonce.errors import InvalidRequest

T = TypeVar("T")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

app = typer.Typer(help="Make, list and revoke API keys; set tenants' limits.", no_args_is_help=True)
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
    _refuse_nameless(tenant)

    async def make(catalog: Catalog) -> tuple[ApiKey, str]:
        if await catalog.tenant(tenant) is None:
            await catalog.put_tenant(Tenant(tenant))
        return await keys.create(catalog, tenant, label, role or [Role.SPEAK], time.time)

    row, key = _run(make)
    if as_json:
        print(json.dumps({**_told(row), "key": key}))  # noqa: T201
        return
    print(key)  # noqa: T201
    Console(stderr=True, highlight=False).print(
        f"id {row.id}, tenant {row.tenant}, may {', '.join(sorted(row.roles))}"
    )


@app.command("tenant")
def put_tenant(
    tenant: Annotated[str, typer.Argument(help="Which tenant; a new one is made.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Requests a second that it may make.")] = None,
    burst: Annotated[float | None, typer.Option(min=1, help="Requests that it may make at once.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="What it may spend a month, in the currency.")] = None,
    public: Annotated[bool, typer.Option(help="Whether anybody may fetch its audio by its URL.")] = False,
    disabled: Annotated[bool, typer.Option(help="Whether it is shut out.")] = False,
    chain: Annotated[str, typer.Option(help="Who speaks, and who in whose place: replicate,deepgram.")] = "",
) -> None:
    """Set a tenant's limits. What is left out is the setting's default again."""
    _refuse_nameless(tenant)
    _run(lambda catalog: catalog.put_tenant(Tenant(tenant, rate, burst, budget, public, disabled, _names(chain))))
    Console(stderr=True).print(f"set tenant {tenant}")


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys, without the keys themselves."""
    found = _run(lambda catalog: catalog.keys())
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
    _run(lambda catalog: catalog.revoke_key(key_id))
    Console(stderr=True).print(f"revoked {key_id}")


def _run(work: Callable[[Catalog], Awaitable[T]]) -> T:
    async def run() -> T:
        catalog = Catalog(connect(configuration.load().database), time.time)
        try:
            return await work(catalog)
        finally:
            await catalog.aclose()

    return asyncio.run(run())


def _told(row: ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "label": row.label,
        "roles": sorted(row.roles),
        "made_at": row.made_at,
        "revoked_at": row.revoked_at,
    }


def _refuse_nameless(tenant: str) -> None:
    if not _TENANT.fullmatch(tenant):
        raise InvalidRequest(
            "That is no name for a tenant.", remedy="Use up to 80 letters, digits, '.', '_' and '-'."
        )


def _names(told: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in told.split(",") if part.strip())


def _day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")

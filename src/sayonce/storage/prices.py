"""What storing costs: list prices, as a dated data file that settings override."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

#: What vendors call a GB when they bill.
GB = 1 << 30

# Where a backend's list price holds, and the setting that may lead elsewhere: others speak its language, at prices of
# their own.
_AT_HOME = {"s3": ("endpoint_url", "amazonaws.com"), "supabase": ("project_url", "supabase.co")}


def monthly_price(name: str, table: Mapping[str, object], prices: Mapping[str, float]) -> float | None:
    """USD a GB and month in the storage of that name and settings: as `prices` has it by its name or its backend,
    else the list price; None where none is known."""
    backend = str(table.get("backend", name))
    told = prices.get(name, prices.get(backend))
    if told is not None:
        return told
    setting, home = _AT_HOME.get(backend, ("", ""))
    address = table.get(setting)
    if address and not _is_within(str(address), home):
        return None
    classes = _table().get(backend, {})
    by_class = _price(classes.get(name))
    return _price(classes.get("standard")) if by_class is None else by_class


def _is_within(address: str, domain: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host == domain or host.endswith(f".{domain}")


def _price(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files("sayonce.storage").joinpath("prices.toml").read_text(encoding="utf-8"))

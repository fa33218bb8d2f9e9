"""Costs as doors and commands tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sayonce.catalog.records import MICROS, Holding
from sayonce.redaction import shown
from sayonce.settings import Settings
from sayonce.storage.prices import GB, monthly_price


def money(cost: int | None, currency: str, *, spoken: bool) -> dict[str, Any]:
    """What an answer cost, and what it saved, in the currency and in millionths of it; None where no price is
    known."""
    paid, saved = (cost, 0) if spoken else (0, cost)
    return {
        "cost": units(paid),
        "saved": units(saved),
        "cost_micros": paid,
        "saved_micros": saved,
        "currency": currency,
    }


def storing(held: Mapping[str, Holding], settings: Settings, saved: int) -> dict[str, Any]:
    """What storages hold, what that costs a month, and what is left of what was saved. A storage whose price is not
    known costs None, and is left out of the sum."""
    tables, prices = settings.all_storages, settings.storage_prices
    by_storage: dict[str, dict[str, Any]] = {}
    for name, holding in held.items():
        price = monthly_price(name, tables.get(name, {}), prices)
        cost = None if price is None else round(holding.bytes / GB * price * settings.usd_rate * MICROS)
        by_storage[shown(name)] = {**asdict(holding), "usd_gb_month": price, "cost": units(cost), "cost_micros": cost}
    total = sum(each["cost_micros"] or 0 for each in by_storage.values())
    return {
        "by_storage": by_storage,
        "storage_cost": units(total),
        "storage_cost_micros": total,
        "unpriced": [name for name, each in by_storage.items() if each["cost"] is None],
        "net": units(saved - total),
        "net_micros": saved - total,
    }


def units(micros: int | None) -> float | None:
    """Millionths as units."""
    return None if micros is None else micros / MICROS

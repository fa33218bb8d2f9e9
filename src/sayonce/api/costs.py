"""Costs as doors and commands tell them."""

from __future__ import annotations

from typing import Any

from sayonce.catalog.records import MICROS


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


def units(micros: int | None) -> float | None:
    """Millionths as units."""
    return None if micros is None else micros / MICROS

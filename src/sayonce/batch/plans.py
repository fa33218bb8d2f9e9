"""Plans: what a run of seeding will do, and cost, before anything is paid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sayonce.catalog.records import MICROS
from sayonce.errors import InvalidRequest


@dataclass(slots=True)
class Price:
    """What an upstream is to speak; `cost` is in millionths of the currency, None where a price is not known."""

    items: int = 0
    characters: int = 0
    cost: int | None = 0


@dataclass(slots=True)
class Plan:
    """What a run will do: `kept` is kept already, `make` is to be made, of which `paid` tells by upstream what is not
    a transcode of what is kept, or made, anyway. `same` are the places of rows that say what an earlier one says."""

    items: int = 0
    kept: int = 0
    make: int = 0
    paid: dict[str, Price] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """What is to be paid for."""
        return sum(price.characters for price in self.paid.values())

    @property
    def cost(self) -> int | None:
        """What is to be paid, in millionths of the currency; None where a price is not known."""
        costs = [price.cost for price in self.paid.values()]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def told(self, currency: str) -> dict[str, Any]:
        """It as doors and commands tell it."""
        return {
            "items": self.items,
            "kept": self.kept,
            "make": self.make,
            "same": len(self.same),
            "characters": self.characters,
            "cost": None if self.cost is None else self.cost / MICROS,
            "currency": currency,
            "by_provider": {
                name: {
                    "texts": price.items,
                    "characters": price.characters,
                    "cost": None if price.cost is None else price.cost / MICROS,
                }
                for name, price in self.paid.items()
            },
        }

    def refuse_dearer(self, most: float | None, currency: str) -> None:
        """InvalidRequest where it costs more than that, or nobody knows how much."""
        if most is None or (self.cost is not None and self.cost <= most * MICROS):
            return
        unknown = self.cost is None
        costs = (
            "It is not known what this costs" if unknown else f"This costs {(self.cost or 0) / MICROS:.6f} {currency}"
        )
        raise InvalidRequest(
            f"{costs}, and {most:.6f} {currency} at most were allowed.",
            param="max_cost",
            remedy="Nothing was paid. " + ("Set the upstream's price." if unknown else "Allow more, or seed less."),
        )

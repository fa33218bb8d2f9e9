"""Books what generations cost that are not kept; what is kept is booked by its landing."""

from __future__ import annotations

from sayonce.cache.flights import Flight
from sayonce.cache.shelf import Shelf
from sayonce.cache.takes import Take
from sayonce.cache.watch import Watch
from sayonce.catalog.records import Spent
from sayonce.errors import CatalogError
from sayonce.telemetry.logs import get_logger

_log = get_logger("sayonce.books")


class Books:
    """Writes to the catalog, as far as that is there."""

    def __init__(self, shelf: Shelf, watch: Watch) -> None:
        self._shelf = shelf
        self._watch = watch

    async def write_off(self, flight: Flight, take: Take | None) -> None:
        """Books what a vendor spoke for nothing, if it had begun to: it bills that all the same."""
        if take is not None and take.came:
            self._watch.wasted(flight)
            await self._pay(_cost(flight))

    async def book(self, flight: Flight) -> None:
        """Books what a vendor spoke, if one did."""
        spent = spent_on(flight)
        if spent is not None:
            await self._pay(spent)

    async def _pay(self, spent: Spent) -> None:
        if not spent.cost:
            return
        try:
            await self._shelf.book(spent)
        except CatalogError as error:
            _log.warning("spending.unbooked", error=error.code)


def spent_on(flight: Flight) -> Spent | None:
    """What a flight cost; None where nobody spoke for it."""
    return _cost(flight) if flight.spoken else None


def _cost(flight: Flight) -> Spent:
    recipe = flight.said
    return Spent(
        tenant=recipe.owner.tenant,
        upstream=flight.order.provider.upstream.name,
        model=recipe.model,
        voice=recipe.voice,
        characters=len(recipe.text),
        cost=flight.order.price(recipe),
    )

"""What may be spent while nothing can be kept (law 5): the cache in trouble must not become a bill."""

from __future__ import annotations

from collections.abc import Callable

from sayonce.errors import BudgetSpent

_HOUR = 3_600.0


class Allowance:
    """At most `characters`, and `usd`, an hour. What costs nothing counts for nothing. `clock` is monotonic."""

    def __init__(self, characters: int, usd: float, clock: Callable[[], float]) -> None:
        self._most = (characters, usd)
        self._clock = clock
        self._began = clock()
        self._used = (0, 0.0)

    def spend(self, characters: int, price: float | None) -> None:
        """Takes from the hour's allowance; BudgetSpent where it does not suffice. `price` None is unknown."""
        if price == 0:
            return
        if self._clock() - self._began >= _HOUR:
            self._began, self._used = self._clock(), (0, 0.0)
        used = (self._used[0] + characters, self._used[1] + (price or 0.0))
        if used[0] > self._most[0] or used[1] > self._most[1]:
            raise BudgetSpent(
                "Nothing can be kept at the moment, and the hour's allowance for that is spent.",
                remedy="Mend the storage or the catalog; the settings bypass_characters and bypass_usd are the cap.",
            )
        self._used = used

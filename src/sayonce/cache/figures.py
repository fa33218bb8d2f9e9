"""What is kept and used, counted no more often than is worth it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.census import Census, census_of
from sayonce.errors import CatalogError
from sayonce.telemetry.logs import get_logger

_log = get_logger("sayonce.figures")

# A census is told for so many times as long as it took: so counting takes at most a twentieth of the time. One that
# failed is tried again after a minute at the latest, in seconds.
_WORTH, _PATIENCE = 20, 60.0
# What takes a look at fewer rows is counted whenever somebody asks.
_LITTLE = 10_000


@dataclass(frozen=True, slots=True)
class Figures:
    """A census, and when it was begun, in seconds since 1970; `trouble` is why there is none since."""

    census: Census
    as_of: float
    trouble: CatalogError | None = None


class CensusTaker:
    """Takes one census at a time, however many ask. `flush` writes what is counted in memory; `clock` is monotonic,
    `now` gives seconds since 1970."""

    def __init__(
        self,
        catalog: Catalog,
        flush: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._flush = flush
        self._clock = clock
        self._now = now
        self._counting = asyncio.Lock()
        # Of the last try: when it began, and until when it will do.
        self._began = self._good_until = float("-inf")
        self._latest: Figures | None = None
        self._trouble: CatalogError | None = None

    async def latest(self) -> Figures:
        """The latest figures; of little, those of this moment. Where none can be had, older ones that say why; the
        CatalogError where there are none of these, either."""
        asked = self._clock()
        async with self._counting:
            # One that began since it was asked for will do, too: all who wait share it.
            if self._began < asked and self._clock() >= self._good_until:
                await self._count()
        if self._latest is None:
            assert self._trouble is not None
            raise self._trouble.with_traceback(None)
        return Figures(self._latest.census, self._latest.as_of, self._trouble)

    async def _count(self) -> None:
        self._began, as_of = self._clock(), self._now()
        try:
            await self._flush()
            census = await asyncio.to_thread(census_of, await self._catalog.censuses.count())
        except CatalogError as error:
            _log.warning("figures.uncounted", error=error.code)
            self._trouble = error
            self._good_until = self._clock() + min(_PATIENCE, self._worth)
        except BaseException:  # who asked has left: nobody else is told of that try
            self._began = float("-inf")
            raise
        else:
            self._latest, self._trouble = Figures(census, as_of), None
            self._good_until = self._began if census.rows < _LITTLE else self._clock() + self._worth

    @property
    def _worth(self) -> float:
        return _WORTH * (self._clock() - self._began)

"""The catalog of the settings, for commands that need nothing else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sayonce import loops
from sayonce import settings as configuration
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.registry import connect

T = TypeVar("T")


def at_work(work: Callable[[Catalog], Awaitable[T]]) -> T:
    """Does that with the catalog, and closes it."""

    async def run() -> T:
        catalog = Catalog(connect(configuration.load().database), time.time)
        try:
            return await work(catalog)
        finally:
            await catalog.aclose()

    return loops.run(run())

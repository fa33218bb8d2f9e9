"""Leases that are taken by the dozen: who is stopped while taking them leaves none behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sayonce.errors import CatalogUnavailable

T = TypeVar("T")


async def taken(
    take: Coroutine[Any, Any, tuple[int, T]], release: Callable[[int], Awaitable[object]]
) -> tuple[int, T]:
    """What `take` gives: a fence, and more. Whoever is stopped at it, of whom the catalog may give the leases all the
    same, gives them back."""
    taking = asyncio.create_task(take)
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        with suppress(CatalogUnavailable):  # then they expire
            await release((await taking)[0])
        raise

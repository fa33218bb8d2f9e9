"""Waiting for what comes of itself, and not for a guessed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE = 30.0


async def until(what: Callable[[], Any | Awaitable[Any]], deadline: float = DEADLINE) -> Any:
    """What `what` gives as soon as it is true."""
    end = time.monotonic() + deadline
    while True:
        found = what()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError("it never came true")
        await asyncio.sleep(0.01)

"""The contract of lines: where ids of uses wait to be spoken. The texts stay in the catalog."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

#: Does what there is to do for the use of an id. It raises nothing.
Speak: TypeAlias = Callable[[int], Awaitable[None]]


class Line(ABC):
    """Uses wait in the order they came, each once, and are spoken at least once. A line may forget them all: the
    catalog knows what is yet to be made, and whoever tends the line puts it back."""

    def __init__(self) -> None:
        #: Set when the line has forgotten what waited in it.
        self.lost = asyncio.Event()

    @abstractmethod
    async def add(self, ids: Sequence[int]) -> bool:
        """Lets uses wait; those that wait already, or are being spoken, are left as they are. False where the line
        could not be reached: they will be put back."""

    def at_work(self) -> bool:
        """Whether something of what waits may yet be spoken, without being added again."""
        return True

    @abstractmethod
    def worked(self, speak: Speak, at_once: int, patience: float) -> AbstractAsyncContextManager[None]:
        """Meanwhile this process works on what waits, on at most so many uses at a time. What is begun at the end has
        `patience` seconds; the rest is left."""

    @abstractmethod
    async def aclose(self) -> None:
        """Called once, last. What waits is left."""

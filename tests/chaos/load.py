"""Load: listeners over all replicas, on texts that are new and on texts that are known."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Self

from tests.chaos.listeners import Listener
from tests.chaos.replicas import Replica
from tests.conftest import until

#: How many ask for a new text at each replica.
EACH = 2
# How many rounds run beside each other.
_LANES = 2
# How long anything that is waited for may take, in seconds.
_LONGEST = 60.0


class Load:
    """Until it is left, each round asks for a text that is new and for one that is known, at every replica at once.
    `replicas` are those that a balancer would choose from just now."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = list(replicas)
        self.listeners: list[Listener] = []
        self.texts: list[str] = []
        self._numbers = count()
        self._enough = False
        self._chance = random.Random(6)

    async def __aenter__(self) -> Self:
        self._lanes = [asyncio.create_task(self._run()) for _ in range(_LANES)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._enough = True
        await asyncio.gather(*self._lanes)

    async def more(self, number: int) -> list[Listener]:
        """Waits for so many requests, at least, that began from now on and have ended."""
        now = asyncio.get_running_loop().time()

        def ended() -> list[Listener]:
            return [each for each in self.listeners if each.began >= now and each.ended is not None]

        await until(lambda: len(ended()) >= number, _LONGEST)
        return ended()

    async def settle(self) -> None:
        """Asks for every text once more at every replica, until each is kept and found by all."""
        left = list(self.texts)
        end = asyncio.get_running_loop().time() + _LONGEST
        while left:
            heard = [await self._ask([(text, each) for each in self.replicas]) for text in left]
            left = [asked[0].text for asked in heard if {each.outcome for each in asked} != {"hit"}]
            assert asyncio.get_running_loop().time() < end, "what was said is not kept"

    async def _run(self) -> None:
        while not self._enough:
            text = f"Sentence {next(self._numbers)}, which nobody has ever heard."
            known = self._chance.choice(self.texts) if self.texts else text
            asked = [(text, each) for each in self.replicas for _ in range(EACH)]
            await self._ask(asked + [(known, each) for each in self.replicas])
            self.texts.append(text)

    async def _ask(self, asked: Sequence[tuple[str, Replica]]) -> list[Listener]:
        turns = [(text, [first, *(each for each in self.replicas if each is not first)]) for text, first in asked]
        asking = [Listener(text, turn) for text, turn in turns]
        self.listeners += asking
        return await asyncio.gather(*(each.listen() for each in asking))

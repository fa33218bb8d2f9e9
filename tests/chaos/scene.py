"""A flight that is held in the middle, so that a test can take something away just then."""

from __future__ import annotations

import asyncio

from sayonce.testing.vendors import Gate
from tests.chaos.fleet import Fleet
from tests.chaos.listeners import Listener
from tests.chaos.replicas import Replica
from tests.conftest import until

#: How many listen at each replica.
AT_EACH = 3


class Scene:
    """A text that is being spoken, and held at that many bytes, while some listen to it at each replica."""

    def __init__(self, fleet: Fleet, text: str, after: int) -> None:
        self.fleet = fleet
        self.text = text
        self.gate = Gate(after)
        self.listeners: list[Listener] = []
        self._asking: list[asyncio.Task[Listener]] = []

    async def begin(self) -> None:
        """One flies, and all others wait."""
        self.fleet.vendors.behave(gate=self.gate)
        self.own = self.ask(self.fleet.replicas[0])
        await until(lambda: self.gate.waiting)
        self.remote = [each for other in self.fleet.replicas[1:] for each in self.ask(other)]
        for other in self.fleet.replicas[1:]:
            await until(lambda other=other: other.count("sayonce_waits_for_others_total"))

    def ask(self, replica: Replica) -> list[Listener]:
        """A few listeners at a replica; who is refused there goes to the next that lives."""
        more = [Listener(self.text, [replica, *self.fleet.others(replica)]) for _ in range(AT_EACH)]
        self.listeners += more
        self._asking += [asyncio.create_task(each.listen()) for each in more]
        return more

    async def end(self) -> None:
        """Returns when nobody listens any more."""
        await asyncio.gather(*self._asking)

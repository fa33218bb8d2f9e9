"""What the engine gives back: audio that is all there, or that is being spoken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from sayonce.cache.flights import Flight
from sayonce.cache.orders import Clip, Order, Outcome


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is there, all of it."""

    order: Order
    outcome: Outcome
    clip: Clip

    @property
    def said(self) -> str:
        """The text that is said."""
        return self.clip.asset.text or self.order.recipe.text

    @property
    def transcoded(self) -> bool:
        """Whether it was made of another format."""
        return self.clip.asset.transcoded


@dataclass(frozen=True, slots=True)
class Live:
    """An answer that is being spoken: its first byte has come."""

    order: Order
    outcome: Outcome
    flight: Flight

    @property
    def said(self) -> str:
        """The text that is said."""
        return self.flight.said.text

    @property
    def transcoded(self) -> bool:
        """Whether it is being made of another format."""
        return self.flight.dub

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it from the start: what came already at once, the rest as it comes. Ends early in a
        SayonceError, and then what came is not whole."""
        return self.flight.listen()


Answer: TypeAlias = Whole | Live


async def whole(answer: Answer) -> Clip:
    """The answer when all of it is there."""
    return answer.clip if isinstance(answer, Whole) else await answer.flight.landed()

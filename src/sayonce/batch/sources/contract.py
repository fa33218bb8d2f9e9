"""What every source of audio gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from sayonce.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Piece:
    """One recording. `place` tells people which: "line 7", "id 12". `fields` say what it is; `read` gives its bytes,
    or raises InvalidRequest where there are none to be had."""

    place: str
    fields: Mapping[str, object]
    read: Callable[[], Awaitable[bytes]]


class Source(ABC):
    """Audio that somebody else has kept. Nothing is changed there."""

    #: What it tells of all its pieces.
    head: Mapping[str, object] = {}

    @abstractmethod
    def pieces(self) -> AsyncIterator[Piece]:
        """Each once, in an order that is the same the next time, and never many of them in memory. InvalidRequest
        where it cannot be read on; one that was raised by a piece's `read` is that piece's alone."""

    async def count(self) -> int | None:
        """About how many there are; None where that is not to be had cheaply."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Frees what it holds. Called once, last."""


def too_large(size: int, most: int) -> InvalidRequest:
    """What is raised of a recording that is too large."""
    return InvalidRequest(f"its {size:,} bytes are more than {most:,}", remedy="Raise SAYONCE_MAX_AUDIO.")

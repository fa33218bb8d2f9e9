"""A flight: one generation in progress, and everyone who listens to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from sayonce.cache.orders import Clip, Order, Outcome
from sayonce.errors import SayonceError
from sayonce.speech.chunks import Chunk, Mark


@dataclass(slots=True)
class Times:
    """When a flight began (by the process's own clock), and how long it took to its first byte and to be kept, in
    seconds."""

    began: float = 0.0
    first_byte: float | None = None
    kept: float | None = None


class Flight:
    """Its pieces are kept in order and shared by all listeners, who each remember only how far they are: a slow
    one costs an index and holds up nobody, a late one begins at the beginning. A listener that leaves changes
    nothing."""

    def __init__(self, order: Order, *, asked_at: float, bypass: bool = False, dub: bool = False) -> None:
        self.order = order
        #: Whether it only says in another format what another flight is saying.
        self.dub = dub
        self.asked_at = asked_at
        #: What is said: what the recipe has, unless a cleaner rewrote it.
        self.said = order.recipe
        #: What flies it; whoever waits for the flight to be over waits for this.
        self.task: asyncio.Task[None] | None = None
        #: Whether the provider has been asked; else there is a queue before it, or somebody else asks it.
        self.asks = False
        #: Whether the provider has spoken, and so is to be paid.
        self.spoken = False
        #: Whether to fly although it may be kept: because a storage in trouble does not give it.
        self.bypass = bypass
        #: Whether it is to be kept; a listener that wants it kept decides for all.
        self.keep = not order.steering.no_store
        #: What the flight turned out to be, for who started it; settled before the first piece.
        self.outcome = Outcome.MISS
        self.takes_off(around=bypass)
        #: Whether it may never come to its end: nobody is to join it.
        self.stalled = False
        #: Whether its first piece came too late for somebody.
        self.late = False
        self.times = Times()
        #: When what is said, as far as it has come.
        self.marks: list[Mark] = []
        self._pieces: list[bytes] = []
        self._clip: Clip | None = None
        self._error: SayonceError | None = None
        self._news = asyncio.Event()

    @property
    def anew(self) -> bool:
        """Whether it takes the place of what may be kept."""
        return self.order.steering.no_cache or self.bypass

    @property
    def begun(self) -> bool:
        """Whether a listener may have heard something."""
        return bool(self._pieces)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._clip is not None or self._error is not None

    def suits(self, order: Order) -> bool:
        """Whether listening to it answers `order`: the same format, and spoken anew where that is asked for."""
        anew = self.order.steering.no_cache or not order.steering.no_cache
        return anew and order.format == self.order.format

    def takes_off(self, *, around: bool) -> None:
        """It speaks itself, `around` what is in trouble or not, whatever it waited for before."""
        usual = Outcome.MISS if self.keep else Outcome.DISABLED
        self.outcome = Outcome.BYPASS if around or self.bypass else usual

    def go_around(self) -> None:
        """Fly although it may be kept: what holds it is in trouble."""
        self.bypass = True
        self.outcome = Outcome.BYPASS

    def count_late(self) -> None:
        """Somebody has waited too long for its first piece: a failure of the provider's, counted once."""
        if self.asks and not (self.late or self._pieces or self.ended):
            self.late = True
            self.order.breaker.failed()

    def pass_on(self, piece: bytes, marks: Iterable[Mark] = ()) -> None:
        """The next piece, with the marks that came with it, to everyone."""
        self.marks.extend(marks)
        if piece:
            if not self._pieces:
                self.times.first_byte = time.perf_counter() - self.times.began
            self._pieces.append(piece)
            self._tell()

    def land(self, clip: Clip) -> None:
        """It is whole. What was found kept on the way comes in one piece."""
        if not self._pieces:
            self._pieces.append(clip.data)
            self.marks.extend(clip.asset.marks)
        self._clip = clip
        self._tell()

    def fail(self, error: SayonceError) -> None:
        """It failed: everyone is told, once. A flight that has ended stays as it ended."""
        if not self.ended:
            self._error = error
            self._tell()

    async def first_piece(self) -> None:
        """Returns when there is something to hear; raises the flight's error where it failed before."""
        while not self._pieces:
            self._raise_error()
            await self._news.wait()

    async def listen(self) -> AsyncIterator[bytes]:
        """All pieces from the first on; raises the flight's error after the last where it failed."""
        heard = 0
        while True:
            while heard < len(self._pieces):
                heard += 1
                yield self._pieces[heard - 1]
            if self._clip is not None:
                return
            self._raise_error()
            await self._news.wait()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """As `listen`, with the marks that came; what has come meanwhile in one."""
        heard = marked = 0
        while True:
            pieces, marks = self._pieces[heard:], self.marks[marked:]
            heard += len(pieces)
            marked += len(marks)
            if pieces or marks:
                yield Chunk(b"".join(pieces), tuple(marks))
            elif self._clip is not None:
                return
            else:
                self._raise_error()
                await self._news.wait()

    async def landed(self) -> Clip:
        """What it brought, when it is whole; raises the flight's error where it failed."""
        while self._clip is None:
            self._raise_error()
            await self._news.wait()
        return self._clip

    async def over(self) -> None:
        """Returns when the flight is over, however it ended, and another may take off."""
        if self.task is not None:
            await asyncio.wait({self.task})

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            # One error for many listeners: each gets it without the others' tracebacks.
            raise self._error.with_traceback(None)

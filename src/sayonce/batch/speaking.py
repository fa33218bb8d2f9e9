"""Has spoken what is yet to be made, one use at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sayonce.batch.queue import keep_of
from sayonce.cache.answers import whole
from sayonce.cache.cast import Cast
from sayonce.cache.engine import Engine
from sayonce.cache.orders import Chain, Clip, Steering
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Use, Wish
from sayonce.errors import BrokenAudio, CatalogError, InvalidRequest, SayonceError, StorageError, StorageUnavailable
from sayonce.telemetry.logs import get_logger

#: The pauses between tries, in seconds, unless a provider asks for longer ones.
PAUSES = (1.0, 2.0, 4.0, 8.0)
# The longest of them that a use is held for; who asks for more patience is left for later.
_LONGEST = 30.0
# After how many seconds it is tried again what could not be made: what may pass by itself, and what hardly will.
_SOON, _LATER = 300.0, 3_600.0

_log = get_logger("sayonce.queue")


class Speaker:
    """Speaks by the cast's and the engine's rules; `note_bug` is told of what should not be."""

    def __init__(
        self,
        catalog: Catalog,
        cast: Cast,
        engine: Engine,
        note_bug: Callable[[BaseException], None],
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._catalog = catalog
        self._cast = cast
        self._engine = engine
        self._note_bug = note_bug
        self._pauses = pauses
        self._patient = True
        #: What keeps things from being made, as far as it may pass by itself; None when something was made since.
        self.held_up: SayonceError | None = None
        #: Told of each use that was made.
        self.made: Callable[[Use], Awaitable[None]] = _nothing_more

    async def speak(self, use: int) -> None:
        """Has a use made, unless it is, or nobody wishes for it any more. What cannot be made is left for later, with
        the reason in the log. Nothing is raised."""
        try:
            await self._persist(use)
        except SayonceError as error:
            _log.warning("wish.left", use=use, error=error.code, reason=error.message)
            await self._leave(use, _SOON if error.retryable else _LATER, error)
        except Exception as bug:  # noqa: BLE001 - the next one is to be spoken all the same
            self._note_bug(bug)
            await self._leave(use, _LATER)

    async def _persist(self, use: int) -> None:
        """Tries a few times; but only once what cannot be kept, as long as that was so for the one before."""
        try:
            await self._made(use, self._pauses if self._patient else ())
        except SayonceError as error:
            self._patient = not isinstance(error, CatalogError | StorageError)
            raise
        self._patient, self.held_up = True, None

    async def _made(self, use: int, pauses: Sequence[float]) -> None:
        for pause in pauses:
            try:
                return await self.make(use)
            except SayonceError as error:
                wait = max(pause, _asked_for(error))
                if not error.retryable or wait > _LONGEST:
                    raise
                self.held_up = error
            await asyncio.sleep(wait)
        await self.make(use)

    async def make(self, use: int) -> None:
        """Has a use made, unless it is, or nobody wishes for it any more: tried once. Errors are the engine's,
        StorageUnavailable where it cannot be kept, and BrokenAudio where it is not to be."""
        wish = await self._catalog.wished(use)
        if wish is None:
            return
        await self._make_room()
        clip = await whole(await self._engine.say(self._chain(wish)))
        if not clip.kept:
            raise _no_room("What was spoken") if self._engine.unkept else _doubtful(clip)
        await self.made(wish.use)

    async def _make_room(self) -> None:
        """Nobody waits to hear it: nothing more is bought while what was bought before cannot be kept."""
        if self._engine.unkept:
            await self._engine.keep_unkept()
        if self._engine.unkept:
            raise _no_room("What was spoken before")

    def _chain(self, wish: Wish) -> Chain:
        """Who was wished for, and nobody in that one's place: another's voice would be another asset."""
        request = wish.request
        names = () if request.upstream is None else (request.upstream,)
        chain = self._cast.chain(request, Steering(keep=keep_of(wish), wished=True), names)
        if chain.first.content_hash != wish.content_hash:
            raise InvalidRequest(
                "By the settings of today this is another asset than the one that was wished for.",
                remedy="Ask for it anew.",
            )
        return replace(chain, others=lambda: iter(()), length=1)

    async def _leave(self, use: int, seconds: float, error: SayonceError | None = None) -> None:
        try:
            failure = None if error is None else told(error)
            await self._catalog.postpone(use, max(seconds, _asked_for(error)), failure)
        except CatalogError as trouble:
            _log.warning("wish.not_put_off", use=use, error=trouble.code)


def told(error: SayonceError) -> str:
    """Why it could not be made, as its use tells it."""
    return json.dumps({"error": error.code, "message": error.message, "remedy": error.remedy})


def _no_room(what: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{what} cannot be kept.",
        backend="storage",
        remedy="See that the storage and the catalog have room and can be written to; it is tried again.",
    )


def _doubtful(clip: Clip) -> BrokenAudio:
    return BrokenAudio(
        "What was spoken is not kept: it is too long or too short for its text, or was deleted meanwhile.",
        provider=clip.asset.upstream,
        remedy="It is tried once more.",
    )


def _asked_for(error: SayonceError | None) -> float:
    """For how many seconds an error asks to be left alone."""
    return getattr(error, "retry_after", None) or 0.0


async def _nothing_more(use: Use) -> None:
    """What there is to do for most that is made."""

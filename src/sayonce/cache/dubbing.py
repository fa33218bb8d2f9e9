"""Another format of what is being said, or is kept, made as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass

from sayonce.audio import framing
from sayonce.audio.probe import Undecodable
from sayonce.audio.transcode import LiveTranscoder
from sayonce.cache.finder import Finder
from sayonce.cache.flights import Flight
from sayonce.cache.orders import Clip, Outcome
from sayonce.errors import BrokenAudio, ProviderUnavailable, SayonceError
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import AudioFormat

# How much of what is kept is transcoded at a time, in bytes: about a second of MP3.
_PIECE = 8_192


@dataclass(frozen=True, slots=True)
class Source:
    """What a dub is made of: its audio as it comes, and the clip that it is, when it is whole."""

    format: AudioFormat
    marks: list[Mark]
    pieces: Callable[[], AsyncIterator[bytes]]
    clip: Callable[[], Awaitable[Clip]]
    outcome: Callable[[], Outcome]


class Dubbing:
    """Flies dubs: flights that pass on the audio of their recipe in a format of their own. Nobody is paid for one,
    and it needs no lease: what it brings is a variant of what is kept, or is being made."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    async def fly(self, dub: Flight, source: Source) -> None:
        """To the end. Errors are the listeners'; only a bug or a cancellation is raised as well."""
        try:
            said = await self._say(dub, source)
            dub.land(await self._finder.dubbed(dub.order, await source.clip(), said))
        except SayonceError as error:
            dub.fail(error)
        except Undecodable as error:
            dub.fail(_broken(dub, error))
        except asyncio.CancelledError:
            dub.fail(_grounded(dub))
            raise
        except Exception:
            dub.fail(SayonceError("Something went wrong inside the gateway.", remedy="Its log tells what."))
            raise

    async def _say(self, dub: Flight, source: Source) -> bytes:
        said = bytearray()
        dub.marks = source.marks
        with closing(LiveTranscoder(source.format, dub.order.format)) as transcoder:
            async for piece in source.pieces():
                dub.outcome = source.outcome()
                said += (heard := await asyncio.to_thread(transcoder.feed, piece))
                dub.pass_on(heard)
            said += (heard := await asyncio.to_thread(transcoder.finish))
            dub.pass_on(heard)
            return await asyncio.to_thread(transcoder.whole, bytes(said))


def of_flight(flight: Flight) -> Source:
    """What another flight is saying."""
    return Source(flight.order.format, flight.marks, flight.listen, flight.landed, lambda: flight.outcome)


def of_clip(clip: Clip) -> Source:
    """What is kept in another format; of an MP3 that was joined of several, only the sound."""

    async def pieces() -> AsyncIterator[bytes]:
        data, is_mp3 = clip.data, clip.asset.format.codec == "mp3"
        data = await asyncio.to_thread(framing.without_tags, data) if is_mp3 else data
        for at in range(0, len(data), _PIECE):
            yield data[at : at + _PIECE]

    async def itself() -> Clip:
        return clip

    return Source(clip.asset.format, list(clip.asset.marks), pieces, itself, lambda: Outcome.HIT)


def _broken(dub: Flight, error: Undecodable) -> BrokenAudio:
    name = dub.order.provider.upstream.name
    return BrokenAudio(f"'{name}' sent audio that is not whole: {error}.", provider=name, remedy="Try again.")


def _grounded(dub: Flight) -> ProviderUnavailable:
    return ProviderUnavailable(
        "The gateway is shutting down.", provider=dub.order.provider.upstream.name, remedy="Ask again in a moment."
    )

"""Another format of what is being said, made as it comes."""

from __future__ import annotations

import asyncio
from contextlib import closing

from sayonce.audio.probe import Undecodable
from sayonce.audio.transcode import LiveTranscoder
from sayonce.cache.finder import Finder
from sayonce.cache.flights import Flight
from sayonce.errors import BrokenAudio, ProviderUnavailable, SayonceError


class Dubbing:
    """Flies dubs: flights that listen to another flight of their recipe and pass on its audio in their own format.
    Nobody is paid for one, and it needs no lease: what it brings is a variant of what the other brings."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    async def fly(self, dub: Flight, source: Flight) -> None:
        """To the end. Errors are the listeners'; only a bug or a cancellation is raised as well."""
        try:
            said = await self._say(dub, source)
            dub.land(await self._finder.dubbed(dub.order, await source.landed(), said))
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

    async def _say(self, dub: Flight, source: Flight) -> bytes:
        said = bytearray()
        dub.marks = source.marks
        with closing(LiveTranscoder(source.order.format, dub.order.format)) as transcoder:
            async for piece in source.listen():
                dub.outcome = source.outcome
                said += (heard := await asyncio.to_thread(transcoder.feed, piece))
                dub.pass_on(heard)
            said += (heard := await asyncio.to_thread(transcoder.finish))
            dub.pass_on(heard)
        return bytes(said)


def _broken(dub: Flight, error: Undecodable) -> BrokenAudio:
    name = dub.order.provider.upstream.name
    return BrokenAudio(f"'{name}' sent audio that is not whole: {error}.", provider=name, remedy="Try again.")


def _grounded(dub: Flight) -> ProviderUnavailable:
    return ProviderUnavailable(
        "The gateway is shutting down.", provider=dub.order.provider.upstream.name, remedy="Ask again in a moment."
    )

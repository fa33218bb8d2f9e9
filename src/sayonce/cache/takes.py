"""A take: what a provider says, on its way to the format that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from sayonce.audio.check import recognise
from sayonce.audio.encode import StreamEncoder, finalise
from sayonce.audio.formats import is_raw
from sayonce.audio.probe import Undecodable, probe
from sayonce.audio.transcode import LiveTranscoder
from sayonce.cache.metadata import LIGHT
from sayonce.errors import BrokenAudio
from sayonce.speech.chunks import Chunk, Mark
from sayonce.speech.formats import AudioFormat

Transcoder: TypeAlias = StreamEncoder | LiveTranscoder


class Take:
    """Collects one generation: what goes in are the provider's chunks, what comes out is what listeners may have.

    Audio in the wanted format is passed through, once its first bytes were recognised as such; anything else is
    transcoded as it comes. `limit` is in bytes. Every error is BrokenAudio.
    """

    def __init__(self, provider: str, native: AudioFormat, wanted: AudioFormat, limit: int) -> None:
        self._provider = provider
        self._native = native
        self._wanted = wanted
        self._limit = limit
        self._passes = native.satisfies(wanted)
        self._transcoder = None if self._passes else _transcoder(native, wanted)
        self._came = bytearray()
        self._recognised = not self._passes
        self._said = bytearray()
        self.marks: list[Mark] = []

    async def add(self, chunk: Chunk) -> bytes:
        """What listeners may have, now that `chunk` has come."""
        self.marks.extend(chunk.marks)
        self._came += chunk.data
        if len(self._came) > self._limit:
            raise self._broken(f"sent more than {self._limit} bytes", "Ask for a shorter text.")
        if self._passes:
            return self._pass(chunk.data)
        if self._transcoder is None or not chunk.data:
            return b""
        return self._say(await self._decoded(lambda transcoder: transcoder.feed(chunk.data)))

    async def finish(self) -> bytes:
        """The rest, when the provider has ended."""
        if not self._came:
            raise self._broken("ended without sending any audio", "Try again.")
        if self._passes:
            return b"" if self._recognised else self._refuse()
        return self._say(await self._decoded(self._rest))

    def close(self) -> None:
        """Frees what it holds, whether it was finished or given up."""
        if self._transcoder is not None:
            self._transcoder.close()

    def whole(self) -> bytes:
        """All that listeners got, as it is kept: with its true length, where the format can tell it. Undecodable
        where it has no header to speak of."""
        if self._transcoder is None:
            return finalise(bytes(self._came), self._wanted)
        return self._transcoder.whole(bytes(self._said))

    @property
    def light(self) -> bool:
        """Whether to make the `whole` of it takes no time to speak of: it is small, and nothing is decoded for it."""
        return max(len(self._came), len(self._said)) <= LIGHT and self._wanted.codec != "flac"

    @property
    def came(self) -> bool:
        """Whether the provider has sent any audio."""
        return bool(self._came)

    async def _decoded(self, work: Callable[[Transcoder], bytes]) -> bytes:
        assert self._transcoder is not None
        try:
            return await asyncio.to_thread(work, self._transcoder)
        except Undecodable as error:
            raise self._broken(f"sent {self._native.codec} audio that is not whole: {error}", "Try again.") from error

    def _rest(self, transcoder: Transcoder) -> bytes:
        probe(bytes(self._came), self._native)  # what is broken must not become whole by transcoding
        return transcoder.finish()

    def _pass(self, data: bytes) -> bytes:
        if self._recognised:
            return data
        known = recognise(bytes(self._came[:64]), self._wanted)
        if known is False:
            return self._refuse()
        self._recognised = known is True
        return bytes(self._came) if self._recognised else b""

    def _say(self, data: bytes) -> bytes:
        self._said += data
        return data

    def _refuse(self) -> bytes:
        raise self._broken(f"sent something that is not {self._wanted.codec} audio", "Try again.")

    def _broken(self, what: str, remedy: str) -> BrokenAudio:
        return BrokenAudio(f"'{self._provider}' {what}.", provider=self._provider, remedy=remedy)


def _transcoder(native: AudioFormat, wanted: AudioFormat) -> Transcoder:
    plain = is_raw(native) and native.codec == "pcm_s16le"
    return StreamEncoder(native, wanted) if plain else LiveTranscoder(native, wanted)

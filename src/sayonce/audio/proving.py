"""Proves audio off the event loop: one at a time in a thread, and several at once in processes of their own.

Decoding gives the interpreter's lock back at each of a file's hundreds of frames, and takes it again: where several
threads do so beside an event loop, all of them mostly wait for it: with sixteen flights at a time, half of a
gateway's time went there (`ONLY=seeding make bench`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from sayonce.audio.formats import is_raw
from sayonce.audio.probe import Probe, Undecodable, probe
from sayonce.piped import Closed, Died, NotStarted, PipedProcess, PipedProcesses, Silent
from sayonce.speech.formats import AudioFormat

# What is larger goes to a thread: a pipe would take longer over it than it saves. In bytes.
_LARGEST = 1_000_000
# For how long a decoder may be silent, and may have nothing to do, in seconds.
_PATIENCE, _IDLE = 60.0, 60.0


class Prover:
    """Any number of proofs at once; at most one a core is under way in a process of its own. A decoder that dies of a
    file takes nothing along."""

    def __init__(self) -> None:
        start = f"import sys; sys.path[:] = {[path for path in sys.path if path]!r}; "
        start += "from sayonce.audio.proving_worker import main; main()"
        self._decoders = PipedProcesses(
            ("-I", "-S", "-c", start), most=os.cpu_count() or 1, patience=_PATIENCE, idle=_IDLE
        )
        self._under_way = 0

    async def prove(self, data: bytes, audio_format: AudioFormat) -> Probe:
        """As `probe`."""
        if is_raw(audio_format) or audio_format.container == "wav":
            return probe(data, audio_format)  # nothing is decoded
        crowded = self._under_way > 0 or bool(self._decoders)
        self._under_way += 1
        try:
            if crowded and len(data) <= _LARGEST:
                return await self._prove_beside(data, audio_format)
            return await asyncio.to_thread(probe, data, audio_format)
        finally:
            self._under_way -= 1

    async def aclose(self) -> None:
        """Ends the processes."""
        await self._decoders.aclose()

    async def _prove_beside(self, data: bytes, audio_format: AudioFormat) -> Probe:
        for fresh in (False, True):  # the first may have been dead already
            try:
                async with self._decoders.one(fresh=fresh) as decoder:
                    return await _proved(decoder, data, audio_format)
            except (NotStarted, Closed):
                return await asyncio.to_thread(probe, data, audio_format)
            except (Died, Silent):
                continue
        raise Undecodable("its decoder does not survive it")


async def _proved(decoder: PipedProcess, data: bytes, audio_format: AudioFormat) -> Probe:
    await decoder.ask(f"{audio_format}\n".encode() + data)
    kind, payload = await decoder.frame()
    decoder.done = True
    if kind == b"u":
        raise Undecodable(payload.decode())
    return Probe(*json.loads(payload))

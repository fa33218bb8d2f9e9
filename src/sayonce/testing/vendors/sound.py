"""The audio that fake vendors send: tones that come and go as words do."""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from functools import lru_cache

from sayonce.audio.encode import StreamEncoder, finalise
from sayonce.speech.formats import AudioFormat

_RATE = 24_000
_LETTERS_A_SECOND = 15
_WORD = _RATE // 3  # samples


def length_of(text: str) -> float:
    """How long saying a text takes, in seconds."""
    return max(len(text) / _LETTERS_A_SECOND, 0.3)


@lru_cache(maxsize=1_024)
def audio(seed: str, seconds: float, audio_format: AudioFormat) -> bytes:
    """A file of that length; which tones, the seed decides."""
    digest = hashlib.sha256(seed.encode()).digest()
    words = -(-int(seconds * _RATE) // _WORD)
    samples = b"".join(_word(120 + digest[word % 32]) for word in range(words))[: 2 * int(seconds * _RATE)]
    encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", _RATE), audio_format)
    return finalise(encoder.feed(samples) + encoder.finish(), audio_format)


@lru_cache(maxsize=256)
def _word(pitch: int) -> bytes:
    """A third of a second of a tone of that pitch, in Hz, that comes and goes: 16-bit samples, little-endian."""
    loud = (9_000 * math.sin(math.pi * n / _WORD) for n in range(_WORD))
    samples = array("h", (int(each * math.sin(2 * math.pi * pitch * n / _RATE)) for n, each in enumerate(loud)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()

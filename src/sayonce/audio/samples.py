"""Samples without a container: 16-bit PCM, and the telephone's µ-law and A-law (ITU-T G.711), a byte each."""

from __future__ import annotations

from collections.abc import Iterable

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from sayonce.speech.formats import AudioFormat

#: How many bytes a sample takes, by codec.
WIDTHS = {"pcm_s16le": 2, "pcm_mulaw": 1, "pcm_alaw": 1}
# What is meant where no rate is named: OpenAI's PCM, and the telephone's.
_RATES = {"pcm_s16le": 24_000, "pcm_mulaw": 8_000, "pcm_alaw": 8_000}


def rate_of(audio_format: AudioFormat) -> int:
    """The rate of raw samples, in Hz."""
    return audio_format.rate or _RATES[audio_format.codec]


class Coder:
    """Turns 16-bit mono frames into the samples of a codec, as they come."""

    def __init__(self, codec: str, rate: int) -> None:
        self._context = None if codec == "pcm_s16le" else _context(codec, "w", rate)

    def encode(self, frame: AudioFrame) -> bytes:
        """The frame's samples."""
        if self._context is None:
            return bytes(frame.planes[0])[: frame.samples * 2]
        frame.pts = None
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def expanded(data: bytes, codec: str, rate: int) -> bytes:
    """Samples of a codec as 16-bit PCM."""
    if codec == "pcm_s16le" or not data:
        return data
    return mono_of(_context(codec, "r", rate).decode(av.Packet(data)))


def mixed(pcm: bytes, rate: int, channels: int) -> bytes:
    """16-bit PCM of several channels as one. ValueError or av.FFmpegError where there are too many."""
    if channels == 1 or not pcm:
        return pcm
    frame = AudioFrame("s16", f"{channels}c", len(pcm) // (2 * channels))
    frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate
    return mono_of(AudioResampler("s16", "mono", rate).resample(frame))


def mono_of(frames: Iterable[AudioFrame]) -> bytes:
    """The samples of 16-bit mono frames."""
    return b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)


def _context(codec: str, mode: str, rate: int) -> AudioCodecContext:
    context = av.CodecContext.create(codec, mode)  # type: ignore[call-overload]
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = rate, "mono"
    if mode == "w":
        context.format = "s16"
    return context

"""Another format of what is there already."""

from __future__ import annotations

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from sayonce.audio import wav
from sayonce.audio.encode import StreamEncoder, finalise
from sayonce.audio.formats import is_raw
from sayonce.audio.probe import Undecodable, frames, probe
from sayonce.speech.formats import AudioFormat


def transcode(data: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """`data` in the format `target`, in mono. Undecodable where it is no whole audio of the format `source`."""
    pcm, rate = decoded(data, source)
    encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", rate), target)
    return finalise(encoder.feed(pcm) + encoder.finish(), target)


def decoded(data: bytes, source: AudioFormat) -> tuple[bytes, int]:
    """The samples as 16-bit mono PCM, and their rate in Hz. Undecodable where it is not whole."""
    probe(data, source)  # what is broken must not become whole by transcoding
    if is_raw(source):
        return data, source.rate or 24_000
    if source.container == "wav":
        found = _wav_header(data)
        samples = data[found.start : None if found.size is None else found.start + found.size]
        return (samples if found.channels == 1 else _mono(samples, found)), found.rate
    return _decode(data, source)


def _mono(samples: bytes, found: wav.WavHeader) -> bytes:
    try:
        frame = AudioFrame("s16", f"{found.channels}c", len(samples) // (2 * found.channels))
        frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = found.rate
        (mono,) = AudioResampler("s16", "mono", found.rate).resample(frame)
    except (av.FFmpegError, ValueError) as error:
        raise Undecodable(f"it has {found.channels} channels") from error
    return bytes(mono.planes[0])[: mono.samples * 2]


def _decode(data: bytes, source: AudioFormat) -> tuple[bytes, int]:
    resampler: AudioResampler | None = None
    pcm = bytearray()
    rate = 0
    try:
        for frame in frames(data, source):
            rate = frame.sample_rate
            resampler = resampler or AudioResampler("s16", "mono", rate)
            for mono in resampler.resample(frame):
                pcm += bytes(mono.planes[0])[: mono.samples * 2]
        for mono in resampler.resample(None) if resampler else ():
            pcm += bytes(mono.planes[0])[: mono.samples * 2]
    except av.FFmpegError as error:
        raise Undecodable("it cannot be decoded") from error
    return bytes(pcm), rate


def _wav_header(data: bytes) -> wav.WavHeader:
    try:
        return wav.read_header(data)
    except wav.NotWav as error:
        raise Undecodable(str(error)) from error

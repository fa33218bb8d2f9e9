"""Another format of what is there already."""

from __future__ import annotations

import av
from av.audio.resampler import AudioResampler

from sayonce.audio import samples, wav
from sayonce.audio.decode import StreamDecoder
from sayonce.audio.encode import StreamEncoder
from sayonce.audio.formats import is_raw
from sayonce.audio.probe import Undecodable, frames, probe
from sayonce.speech.formats import AudioFormat


class LiveTranscoder:
    """Turns audio of one format into another as it streams in. Cutting the input otherwise changes nothing. Not for
    two threads at once. Undecodable where the input is no audio of the format `source`."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._decoder = StreamDecoder(source)
        self._encoder: StreamEncoder | None = None
        self._target = target

    def feed(self, data: bytes) -> bytes:
        """What can be sent, now that `data` has come."""
        return self._encode(self._decoder.feed(data))

    def finish(self) -> bytes:
        """The rest. Called once, last."""
        said = self._encode(self._decoder.finish())
        if self._encoder is None:
            raise Undecodable("it has no sound")
        return said + self._encoder.finish()

    def whole(self, said: bytes) -> bytes:
        """The file as it is kept, of all that was said, once it is finished."""
        assert self._encoder is not None
        return self._encoder.whole(said)

    def close(self) -> None:
        """Frees what it holds, whether it was finished or given up."""
        self._decoder.close()
        if self._encoder is not None:
            self._encoder.close()

    def _encode(self, pcm: bytes) -> bytes:
        if not pcm:
            return b""
        if self._encoder is None:
            self._encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", self._decoder.rate), self._target)
        return self._encoder.feed(pcm)


def transcode(data: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """`data` in the format `target`, in mono. Undecodable where it is no whole audio of the format `source`."""
    pcm, rate = decoded(data, source)
    encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", rate), target)
    return encoder.whole(encoder.feed(pcm) + encoder.finish())


def decoded(data: bytes, source: AudioFormat) -> tuple[bytes, int]:
    """The samples as 16-bit mono PCM, and their rate in Hz. Undecodable where it is not whole."""
    probe(data, source)  # what is broken must not become whole by transcoding
    if is_raw(source):
        rate = samples.rate_of(source)
        return samples.expanded(data, source.codec, rate), rate
    if source.container == "wav":
        found = _wav_header(data)
        there = data[found.start : None if found.size is None else found.start + found.size]
        pcm = samples.expanded(there, found.codec, found.rate)
        return _mono(pcm, found), found.rate
    return _decode(data, source)


def _mono(pcm: bytes, found: wav.WavHeader) -> bytes:
    try:
        return samples.mixed(pcm, found.rate, found.channels)
    except (av.FFmpegError, ValueError) as error:
        raise Undecodable(f"it has {found.channels} channels") from error


def _decode(data: bytes, source: AudioFormat) -> tuple[bytes, int]:
    resampler: AudioResampler | None = None
    pcm = bytearray()
    rate = 0
    try:
        for frame in frames(data, source):
            rate = frame.sample_rate
            resampler = resampler or AudioResampler("s16", "mono", rate)
            pcm += samples.mono_of(resampler.resample(frame))
        pcm += samples.mono_of(resampler.resample(None)) if resampler else b""
    except av.FFmpegError as error:
        raise Undecodable("it cannot be decoded") from error
    return bytes(pcm), rate


def _wav_header(data: bytes) -> wav.WavHeader:
    try:
        return wav.read_header(data)
    except wav.NotWav as error:
        raise Undecodable(str(error)) from error

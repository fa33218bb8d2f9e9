"""Encodes PCM as it streams in, so that the first listener need not wait for the last word.

Equal audio gives equal bytes, however it was cut into chunks: the encoders see blocks of one size, and nothing
that varies (times, versions, serial numbers) is written.
"""

from __future__ import annotations

from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags

from sayonce.audio import samples, wav
from sayonce.audio.formats import Coding, coding
from sayonce.audio.info import DECODER_DELAY, ENCODER_DELAY, info_frame
from sayonce.audio.probe import Undecodable, probe
from sayonce.speech.formats import AudioFormat

_BLOCKS_A_SECOND = 50

# The muxers write at once, without what they could only fill in by going back, or what differs from run to run.
_MUXER = {
    "mp3": {"write_xing": "0", "id3v2_version": "0"},
    "ogg": {"page_duration": "60000", "serial_offset": "1"},
    "adts": {},
    "flac": {"metadata_header_padding": "0"},
}
_ENCODER = {"libopus": {"application": "voip", "frame_duration": "20"}, "flac": {"compression_level": "5"}}


class StreamEncoder:
    """Turns 16-bit mono PCM of the rate that `source` names into `target`. Not for two threads at once."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        how = coding(target)
        rate_in = samples.rate_of(source)
        self._block = rate_in // _BLOCKS_A_SECOND * 2
        self._rate_in = rate_in
        rate = target.rate or _nearest(how, rate_in)
        self._target = target
        self._pending = bytearray()
        self._sink: _Samples | _Encoded = (
            _Samples(rate_in, rate, how.encoder, in_wav=target.container == "wav")
            if not how.muxer
            else _Encoded(how, rate, target.bitrate or how.bitrate)
        )

    def feed(self, pcm: bytes) -> bytes:
        """What can be sent, now that `pcm` has come; any number of bytes, also half a sample."""
        self._pending += pcm
        blocks = len(self._pending) // self._block
        for at in range(0, blocks * self._block, self._block):
            self._sink.put(_frame(bytes(self._pending[at : at + self._block]), self._rate_in))
        del self._pending[: blocks * self._block]
        return self._sink.taken()

    def finish(self) -> bytes:
        """The rest. Called once, last. Undecodable where the samples end in the middle of one."""
        rest = bytes(self._pending)
        if len(rest) % 2:
            raise Undecodable("its last sample is cut short")
        if rest:
            self._sink.put(_frame(rest, self._rate_in))
        self._sink.end()
        return self._sink.taken()

    def whole(self, said: bytes) -> bytes:
        """The file as it is kept, of all that was said, once it is finished: with its true length, to the sample,
        where the format can tell it."""
        if self._target.codec == "mp3" and isinstance(self._sink, _Encoded):
            return info_frame(said, self._sink.samples - ENCODER_DELAY - DECODER_DELAY) + said
        return finalise(said, self._target)

    def close(self) -> None:
        """Frees the encoder before its end, for audio that is given up. Nothing may follow."""
        self._sink.close()


def finalise(data: bytes, audio_format: AudioFormat) -> bytes:
    """What another encoder made, as it is kept: with its true length in its header, where that was left open.
    Undecodable where it has no header to speak of."""
    if audio_format.container == "wav":
        try:
            return wav.with_true_size(data)
        except wav.NotWav as error:
            raise Undecodable(str(error)) from error
    if audio_format.codec == "flac" and data[:4] == b"fLaC" and not _flac_length(data):
        return _with_flac_length(data, probe(data, audio_format).samples)
    return data


class _Samples:
    """Samples out, at another rate if need be, behind a WAV header if need be."""

    def __init__(self, rate_in: int, rate: int, codec: str, *, in_wav: bool) -> None:
        self._out = bytearray(wav.header(rate, codec=codec) if in_wav else b"")
        self._coder = samples.Coder(codec, rate)
        self._resampler = None if rate == rate_in else AudioResampler("s16", "mono", rate)

    def put(self, frame: AudioFrame) -> None:
        for resampled in [frame] if self._resampler is None else self._resampler.resample(frame):
            self._write(resampled)

    def end(self) -> None:
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                self._write(resampled)

    def taken(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def close(self) -> None:
        """Holds nothing."""

    def _write(self, frame: AudioFrame) -> None:
        self._out += self._coder.encode(frame)


class _Encoded:
    """Encoded audio out, in its container."""

    def __init__(self, how: Coding, rate: int, bitrate: int | None) -> None:
        self.samples = 0  # that came out, silence before and after them counted
        self._sink = _Sink()
        self._container = av.open(
            self._sink,
            "w",
            format=how.muxer,
            options={"fflags": "+bitexact", "flush_packets": "1"} | _MUXER[how.muxer],
        )
        stream = self._container.add_stream(how.encoder, rate=rate, options=_ENCODER.get(how.encoder, {}))
        self._stream = cast(AudioStream, stream)
        context = self._stream.codec_context
        context.layout = "mono"
        context.flags |= Flags.bitexact
        if bitrate is not None:
            context.bit_rate = min(bitrate, how.highest or bitrate)

    def put(self, frame: AudioFrame) -> None:
        self._write(frame)

    def end(self) -> None:
        self._write(None)
        self._container.close()

    def close(self) -> None:
        self._container.close()  # dropped open, it would wait for the collector with all that it holds

    def taken(self) -> bytes:
        return self._sink.taken()

    def _write(self, frame: AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.samples += packet.duration or 0
            self._container.mux(packet)


class _Sink:
    """What FFmpeg writes to. It cannot be sought in: what was sent was sent."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        out = bytes(self._written)
        self._written.clear()
        return out


def _frame(pcm: bytes, rate: int) -> AudioFrame:
    frame = AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate
    return frame


def _nearest(how: Coding, rate: int) -> int:
    """The lowest rate of the codec that loses nothing, or its highest."""
    return min((r for r in how.rates if r >= rate), default=max(how.rates)) if how.rates else rate


def _flac_length(data: bytes) -> int:
    return int.from_bytes(data[21:26], "big") & 0xF_FFFF_FFFF


def _with_flac_length(data: bytes, samples: int) -> bytes:
    kept_bits = int.from_bytes(data[21:26], "big") & ~0xF_FFFF_FFFF
    return data[:21] + (kept_bits | samples).to_bytes(5, "big") + data[26:]

"""Decodes audio as it streams in, to the very samples that decoding the whole file gives."""

from __future__ import annotations

import threading

import av
from av.audio.resampler import AudioResampler

from sayonce.audio import samples, wav
from sayonce.audio.formats import is_raw
from sayonce.audio.info import padding_told
from sayonce.audio.probe import DEMUXERS, Undecodable
from sayonce.speech.formats import AudioFormat

# As little as tells the stream's parameters, so that the first samples come early.
_EAGERLY = {"probesize": "2048", "analyzeduration": "0"}
# FFmpeg gets blocks of so many bytes and no others, so that how the input was cut changes nothing.
_BLOCK = 512
# A WAV file's samples begin before this.
_LONGEST_HEADER = 65_536


class StreamDecoder:
    """Turns audio of the format `source` into 16-bit mono PCM. Not for two threads at once.

    FFmpeg's demuxers pull and streams push; so an encoded one has a thread of its own, which runs only while `feed`
    or `finish` waits for it: what comes out depends on what went in, and on nothing else.
    """

    def __init__(self, source: AudioFormat) -> None:
        self._from: _Raw | _Wav | _Pulled
        if is_raw(source):
            self._from = _Raw(source.codec, samples.rate_of(source), 1)
        else:
            self._from = _Wav() if source.container == "wav" else _Pulled(source)

    @property
    def rate(self) -> int:
        """The samples' rate in Hz; 0 before any has come."""
        return self._from.rate

    def feed(self, data: bytes) -> bytes:
        """The samples that can be decoded, now that `data` has come. Undecodable where it is no such audio."""
        return self._from.give(data)

    def finish(self) -> bytes:
        """The rest. Called once, last. Undecodable where it ends in the middle of something."""
        return self._from.end()

    def close(self) -> None:
        """Frees the decoder before its end. Nothing may follow."""
        self._from.stop()


class _Raw:
    """Samples alone."""

    def __init__(self, codec: str, rate: int, channels: int) -> None:
        self.rate = rate
        self._codec = codec
        self._channels = channels
        self._half = b""

    def give(self, data: bytes) -> bytes:
        data = self._half + data
        whole = len(data) - len(data) % (samples.WIDTHS[self._codec] * self._channels)
        self._half = data[whole:]
        pcm = samples.expanded(data[:whole], self._codec, self.rate)
        try:
            return samples.mixed(pcm, self.rate, self._channels)
        except (av.FFmpegError, ValueError) as error:
            raise Undecodable(f"it has {self._channels} channels") from error

    def end(self) -> bytes:
        if self._half:
            raise Undecodable("its last sample is cut short")
        return b""

    def stop(self) -> None:
        """Holds nothing."""


class _Wav:
    """Samples behind a header, which may not know how many there will be."""

    def __init__(self) -> None:
        self._head = b""
        self._samples: _Raw | None = None
        self._left: int | None = None

    @property
    def rate(self) -> int:
        return 0 if self._samples is None else self._samples.rate

    def give(self, data: bytes) -> bytes:
        if self._samples is None:
            self._head += data
            data = self._behind_header()
        if self._left is not None:
            data, self._left = data[: self._left], max(self._left - len(data), 0)
        return b"" if self._samples is None else self._samples.give(data)

    def end(self) -> bytes:
        if self._samples is None:
            raise Undecodable("it has no samples")
        if self._left:
            raise Undecodable("it is shorter than its header says")
        return self._samples.end()

    def stop(self) -> None:
        """Holds nothing."""

    def _behind_header(self) -> bytes:
        try:
            found = wav.read_header(self._head)
        except wav.NotWav as error:
            if len(self._head) > _LONGEST_HEADER or not b"RIFF".startswith(self._head[:4]):
                raise Undecodable(str(error)) from error
            return b""
        self._samples, self._left = _Raw(found.codec, found.rate, found.channels), found.size
        data, self._head = self._head[found.start :], b""
        return data


class _Pulled:
    """A file that grows, and the thread that decodes it. One of the two sides runs at a time."""

    def __init__(self, source: AudioFormat) -> None:
        self.rate = 0
        self._source = source
        self._came = bytearray()
        self._head = b""
        self._played = 0
        self._padding = range(0)
        self._ended = False
        self._pcm = bytearray()
        self._error: Exception | None = None
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting = False

    def give(self, data: bytes) -> bytes:
        with self._turn:
            self._came += data
            return self._run()

    def end(self) -> bytes:
        with self._turn:
            self._ended = True
            return self._run()

    def stop(self) -> None:
        with self._turn:
            self._came.clear()
            self._ended = True
            self._turn.notify_all()

    def read(self, size: int) -> bytes:
        """FFmpeg's: the next block of its size, when it is there; none at the end."""
        with self._turn:
            while len(self._came) < _BLOCK and not self._ended:
                self._waiting = True
                self._turn.notify_all()
                self._turn.wait()
            self._waiting = False
            data = bytes(self._came[:_BLOCK])
            del self._came[:_BLOCK]
            self._head += data if not self.rate else b""
            return data

    def _run(self) -> bytes:
        """Lets the thread run until it waits for more, or is done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._decode, name="sayonce-decode", daemon=True)
            self._thread.start()
        self._waiting = False
        self._turn.notify_all()
        self._turn.wait_for(lambda: self._waiting or self._thread is _DONE)
        if self._error is not None:
            raise Undecodable("it cannot be decoded") from self._error
        pcm = bytes(self._pcm)
        self._pcm.clear()
        return pcm

    def _decode(self) -> None:
        error: Exception | None = None
        try:
            self._demux()
        except (av.FFmpegError, Undecodable, IndexError, ValueError) as wrong:
            error = wrong
        with self._turn:
            self._error, self._thread = error, _DONE
            self._turn.notify_all()

    def _demux(self) -> None:
        resampler: AudioResampler | None = None
        demuxer = DEMUXERS[self._source.container]
        with av.open(self, "r", format=demuxer, buffer_size=_BLOCK, options=_EAGERLY) as container:
            for packet in container.demux(container.streams.audio[0]):
                for frame in packet.decode():
                    if self.rate not in (0, frame.sample_rate):
                        raise Undecodable("its sample rate changes on the way")
                    self.rate = frame.sample_rate
                    resampler = resampler or AudioResampler("s16", "mono", self.rate)
                    self._play(samples.mono_of(resampler.resample(frame)))
            self._play(samples.mono_of(resampler.resample(None)) if resampler is not None else b"")

    def _play(self, pcm: bytes) -> None:
        """All but the padding that an MP3 file tells of."""
        if not self._played and self._source.codec == "mp3":
            self._padding = padding_told(self._head)
        first, after = (2 * max(at - self._played, 0) for at in (self._padding.start, self._padding.stop))
        self._pcm += pcm[:first] + pcm[max(first, after) :]
        self._played += len(pcm) // 2


_DONE = threading.Thread(name="sayonce-decoded")

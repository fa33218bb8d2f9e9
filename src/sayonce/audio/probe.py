"""Is it whole, can it be decoded, and how long does it last?"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.packet import Packet

from sayonce.audio import framing, samples, wav
from sayonce.audio.formats import coding, is_raw
from sayonce.speech.formats import AudioFormat

# What FFmpeg says would name files and metadata; what we need of it comes as exceptions.
av.logging.set_level(None)

_CODECS = {"mp3": {"mp3", "mp3float"}, "opus": {"opus", "libopus"}, "aac": {"aac"}, "flac": {"flac"}}
# How many MP3 frames are decoded at a time: a second or two of sound.
_TOGETHER = 64
#: What FFmpeg calls what takes a container apart.
DEMUXERS = {"mp3": "mp3", "ogg": "ogg", "adts": "aac", "flac": "flac", "wav": "wav"}


class Undecodable(Exception):
    """It is no whole audio of the format that it should be. The message completes "it is not whole: …"."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What decoding all of it has shown. `duration` is in seconds, `sample_rate` in Hz."""

    duration: float
    sample_rate: int
    channels: int
    samples: int


def probe(data: bytes, audio_format: AudioFormat, *, longest: float = math.inf) -> Probe:
    """Decodes everything. Undecodable where it is not whole, or not of that format, or empty, or longer than
    `longest` seconds, of which no more is decoded. Raw audio is judged by its length alone: any bytes are samples."""
    measured = _probe(data, audio_format, longest)
    if measured.duration > longest:
        raise Undecodable(f"it is longer than {longest:g} seconds")
    return measured


def _probe(data: bytes, audio_format: AudioFormat, longest: float) -> Probe:
    if is_raw(audio_format):
        return _measured(len(data), samples.rate_of(audio_format), 1, samples.WIDTHS[audio_format.codec])
    if audio_format.container == "wav":
        return _probe_wav(data, audio_format.codec)
    try:
        walk = framing.WALKS.get(audio_format.container)
        if walk is not None:
            walk(data)
        if audio_format.codec == "mp3" and not framing.tells_of_itself(bare := framing.without_tags(data)):
            return _decode_mp3(bare, longest)
        return _decode(data, audio_format, longest)
    except (framing.Broken, av.FFmpegError, IndexError) as error:
        raise Undecodable(_reason(error)) from error


def frames(data: bytes, audio_format: AudioFormat) -> Iterator[AudioFrame]:
    """The decoded frames of an encoded file. Undecodable where FFmpeg says that something is wrong with it."""
    coding(audio_format)
    if audio_format.codec == "mp3":
        data = framing.without_tags(data)
    with av.open(io.BytesIO(data), "r", format=DEMUXERS[audio_format.container]) as container:
        stream = _audio(container.streams.audio, audio_format)
        if audio_format.codec != "mp3":  # an MP3's first frame may rightly refer to one that was cut off
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        packed = 0
        heard: set[tuple[int, str]] = set()
        for packet in container.demux(stream):
            decoded = packet.decode()
            # Round a damaged FLAC frame, FFmpeg joins several into one packet, drops some, or leaves bytes out.
            if packet.is_corrupt or (audio_format.codec == "flac" and len(decoded) != (packet.size > 0)):
                raise Undecodable("a part of it is damaged")
            heard.update((frame.sample_rate, frame.layout.name) for frame in decoded)
            if len(heard) > 1:
                raise Undecodable("its sample rate or its channels change on the way")
            packed += packet.size
            yield from decoded
        if audio_format.codec == "flac" and _flac_start(data) + packed != len(data):
            raise Undecodable("a part of it is missing")


def _decode(data: bytes, audio_format: AudioFormat, longest: float) -> Probe:
    count = rate = channels = 0
    for frame in frames(data, audio_format):
        count += frame.samples
        rate, channels = frame.sample_rate, len(frame.layout.channels)
        if count > longest * rate:
            return Probe(count / rate, rate, channels, count)
    if not count:
        raise Undecodable("it has no sound")
    told = _flac_samples(data) if audio_format.codec == "flac" else 0
    if told and told != count:
        raise Undecodable("it is cut short")
    return Probe(count / rate, rate, channels, count)


def _decode_mp3(data: bytes, longest: float) -> Probe:
    """As `_decode`, of frames of sound alone, many to a packet: taking them apart one by one takes as long again as
    decoding them."""
    decoder = CodecContext.create("mp3float", "r")
    assert isinstance(decoder, AudioCodecContext)
    count = 0
    for packed in framing.mp3_packets(data, _TOGETHER):
        for frame in decoder.decode(Packet(packed)):
            count += frame.samples
        if count > longest * decoder.sample_rate:
            break
    else:
        if count != framing.count_mp3(data) * framing.samples_in_mp3_frame(data):
            raise Undecodable("a part of it is damaged")
    return Probe(count / decoder.sample_rate, decoder.sample_rate, decoder.channels, count)


def _audio(streams: tuple[AudioStream, ...], audio_format: AudioFormat) -> AudioStream:
    if not streams:
        raise Undecodable("it has no sound")
    if streams[0].codec_context.name not in _CODECS[audio_format.codec]:
        raise Undecodable(f"it is coded in {streams[0].codec_context.name}")
    return streams[0]


def _probe_wav(data: bytes, codec: str) -> Probe:
    try:
        found = wav.read_header(data)
    except wav.NotWav as error:
        raise Undecodable(str(error)) from error
    if found.codec != codec:
        raise Undecodable(f"it is coded in {found.codec}")
    there = len(data) - found.start
    if found.size is not None and found.size > there:
        raise Undecodable("it is shorter than its header says")
    size = there if found.size is None else found.size
    return _measured(size, found.rate, found.channels, samples.WIDTHS[codec])


def _measured(size: int, rate: int, channels: int, width: int) -> Probe:
    if size == 0:
        raise Undecodable("it has no sound")
    if size % (width * channels):
        raise Undecodable("its last sample is cut short")
    count = size // (width * channels)
    return Probe(count / rate, rate, channels, count)


def _flac_samples(data: bytes) -> int:
    """How many samples a FLAC file says it has (its STREAMINFO, RFC 9639 section 8.2); 0 is "not known"."""
    return int.from_bytes(data[21:26], "big") & 0xF_FFFF_FFFF if data[:4] == b"fLaC" else 0


def _flac_start(data: bytes) -> int:
    """Where the frames begin: after the metadata blocks (RFC 9639 section 8)."""
    at, last = 4, False
    while not last and at < len(data):
        last = bool(data[at] & 0x80)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at


def _reason(error: Exception) -> str:
    if isinstance(error, framing.Broken):
        return str(error)
    return "it cannot be decoded"

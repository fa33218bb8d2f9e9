"""The header of a WAV file (RIFF, as Microsoft's and IBM's "Multimedia Programming Interface" of 1991 has it; the
telephone's codecs as "New Multimedia Data Types and Data Techniques" of 1994 adds them)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: What a header says while nobody knows yet how long the audio will be.
STREAMING = 0xFFFFFFFF
# What encoders write for "not known yet", rounded and shifted by header sizes in every way seen.
_LEAST_UNKNOWN = 0x7FFFFF00

_PCM, _EXTENSIBLE = 1, 0xFFFE
# The tag and the bits a sample of each codec.
_TAGS = {"pcm_s16le": (_PCM, 16), "pcm_alaw": (6, 8), "pcm_mulaw": (7, 8)}
_CODECS = {tag: codec for codec, tag in _TAGS.items()} | {(_EXTENSIBLE, 16): "pcm_s16le"}


class NotWav(ValueError):
    """The bytes are no whole WAV header of samples that we know."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """Where the samples are. `size` is what the header says, in bytes; None where it does not know."""

    codec: str
    rate: int
    channels: int
    start: int
    size: int | None


def header(rate: int, size: int = STREAMING, codec: str = "pcm_s16le") -> bytes:
    """The header of `size` bytes of mono samples at `rate` Hz."""
    tag, bits = _TAGS[codec]
    width = bits // 8
    form = struct.pack("<HHIIHH", tag, 1, rate, rate * width, width, bits)
    chunks = _chunk(b"fmt ", form)
    if codec != "pcm_s16le":  # whatever is not plain PCM says how many samples there are
        chunks = _chunk(b"fmt ", form + bytes(2)) + _chunk(b"fact", struct.pack("<I", size))
    riff = STREAMING if size == STREAMING else 12 + len(chunks) + size
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + chunks + struct.pack("<4sI", b"data", size)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


def read_header(data: bytes) -> WavHeader:
    """Where the samples of a WAV file are; NotWav where it is none, or not of 16-bit PCM."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise NotWav("it has no RIFF header")
    codec, rate, channels = "", 0, 0
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            codec, rate, channels = _read_format(data[at + 8 : at + 8 + size])
        elif name == b"data":
            if not rate:
                raise NotWav("its samples come before their format")
            known = _known_size(size, len(data) - at - 8)
            if known is not None and data[at + 8 + known : at + 12 + known] == b"RIFF":
                raise NotWav("a second file follows its samples, which players would not play")
            return WavHeader(codec, rate, channels, at + 8, known)
        at += 8 + size + size % 2
    raise NotWav("it has no samples")


def with_true_size(data: bytes) -> bytes:
    """The file with its true lengths in its header, where they were not known when it was written."""
    found = read_header(data)
    if found.size is not None:
        return data
    size = len(data) - found.start
    whole = bytearray(data)
    struct.pack_into("<I", whole, 4, len(whole) - 8)
    struct.pack_into("<I", whole, found.start - 4, size)
    fact = data.find(b"fact\x04\0\0\0\xff\xff\xff\xff", 12, found.start)
    if fact >= 0:
        struct.pack_into("<I", whole, fact + 8, size)  # a byte a sample: what is wider has no such chunk from us
    return bytes(whole)


def _read_format(chunk: bytes) -> tuple[str, int, int]:
    if len(chunk) < 16:
        raise NotWav("its format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    codec = _CODECS.get((tag, bits))
    if codec is None or not channels:
        raise NotWav("its samples are not 16-bit PCM")
    if not 4_000 <= rate <= 384_000:
        raise NotWav(f"its sample rate of {rate} Hz is none")
    return codec, rate, channels


def _known_size(size: int, there: int) -> int | None:
    unknown = size >= _LEAST_UNKNOWN or (size == 0 and there > 0)
    return None if unknown else size

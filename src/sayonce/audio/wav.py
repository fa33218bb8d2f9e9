"""The header of a WAV file (RIFF, as Microsoft's and IBM's "Multimedia Programming Interface" of 1991 has it)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: What a header says while nobody knows yet how long the audio will be.
STREAMING = 0xFFFFFFFF
# What encoders write for "not known yet", rounded and shifted by header sizes in every way seen.
_LEAST_UNKNOWN = 0x7FFFFF00

_PCM, _EXTENSIBLE = 1, 0xFFFE


class NotWav(ValueError):
    """The bytes are no whole WAV header of 16-bit PCM."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """Where the samples are. `size` is what the header says, in bytes; None where it does not know."""

    rate: int
    channels: int
    start: int
    size: int | None


def header(rate: int, size: int = STREAMING) -> bytes:
    """The header of 16-bit mono PCM at `rate` Hz with `size` bytes of samples."""
    riff = STREAMING if size == STREAMING else 36 + size
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, _PCM, 1, rate, rate * 2, 2, 16, b"data", size
    )


def read_header(data: bytes) -> WavHeader:
    """Where the samples of a WAV file are; NotWav where it is none, or not of 16-bit PCM."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise NotWav("it has no RIFF header")
    rate = channels = 0
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            rate, channels = _read_format(data[at + 8 : at + 8 + size])
        elif name == b"data":
            if not rate:
                raise NotWav("its samples come before their format")
            known = _known_size(size, len(data) - at - 8)
            if known is not None and data[at + 8 + known : at + 12 + known] == b"RIFF":
                raise NotWav("a second file follows its samples, which players would not play")
            return WavHeader(rate, channels, at + 8, known)
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
    return bytes(whole)


def _read_format(chunk: bytes) -> tuple[int, int]:
    if len(chunk) < 16:
        raise NotWav("its format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag not in (_PCM, _EXTENSIBLE) or bits != 16 or not channels:
        raise NotWav("its samples are not 16-bit PCM")
    if not 4_000 <= rate <= 384_000:
        raise NotWav(f"its sample rate of {rate} Hz is none")
    return rate, channels


def _known_size(size: int, there: int) -> int | None:
    unknown = size >= _LEAST_UNKNOWN or (size == 0 and there > 0)
    return None if unknown else size

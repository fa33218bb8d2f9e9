"""Walks through an encoded file frame by frame, so that a part that is missing is noticed.

FFmpeg conceals what is missing; a cache must not. Frame headers as ISO/IEC 11172-3 and 13818-3 (MP3), 13818-7
(ADTS) and RFC 3533 (Ogg) have them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping


class Broken(ValueError):
    """The frames do not follow one another to the end of the file."""


def walk_mp3(data: bytes) -> None:
    """Broken where the file is not MP3 frames from its tags to its end."""
    at, end = _after_id3(data), len(data)
    if data[-128:-125] == b"TAG":
        end -= 128
    if at >= end:
        raise Broken("it has no frames")
    while at < end:
        size = _mp3_frame(data, at)
        if at + size > end:
            raise Broken("its last frame is cut short")
        at += size


def is_mp3_frame(data: bytes) -> bool:
    """Whether an MP3 frame begins here."""
    try:
        return _mp3_frame(data, 0) > 0
    except Broken:
        return False


def walk_adts(data: bytes) -> None:
    """Broken where the file is not ADTS frames from its beginning to its end."""
    at = 0
    if not data:
        raise Broken("it has no frames")
    while at < len(data):
        if at + 7 > len(data):
            raise Broken("its last frame is cut short")
        if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
            raise Broken("something that is no frame stands among its frames")
        size = (data[at + 3] & 0x03) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        if size < 7 or at + size > len(data):
            raise Broken("its last frame is cut short")
        at += size


def walk_ogg(data: bytes) -> None:
    """Broken where the file is not one stream of Opus, every page of it there and undamaged, to its last."""
    at = number = flags = 0
    if data[:4] != b"OggS" or data[28:36] != b"OpusHead":
        raise Broken("it does not begin as Opus in Ogg does")
    while at < len(data):
        start = at
        if data[at : at + 4] != b"OggS"[: len(data) - at]:
            raise Broken("something that is no page stands among its pages")
        lacing = data[at + 27 : at + 27 + data[at + 26]] if at + 27 <= len(data) else b""
        if at + 27 > len(data) or len(lacing) < data[at + 26]:
            raise Broken("its last page is cut short")
        at += 27 + len(lacing) + sum(lacing)
        if at > len(data):
            raise Broken("its last page is cut short")
        _check_page(data[start:at], number, data[14:18])
        flags, number = data[start + 5], number + 1
    if not flags & _LAST_PAGE:
        raise Broken("its last page is missing")


_LAST_PAGE = 4
_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _check_page(page: bytes, number: int, serial: bytes) -> None:
    if page[14:18] != serial or int.from_bytes(page[18:22], "little") != number:
        raise Broken("a page of it is missing")
    # Ogg's CRC-32 takes each byte's high bit first, zlib's its low one; turned round, zlib does the work in C.
    blank = (page[:22] + bytes(4) + page[26:]).translate(_BITS_REVERSED)
    crc = int(f"{zlib.crc32(blank, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)
    if crc != int.from_bytes(page[22:26], "little"):
        raise Broken("a page of it is damaged")


WALKS: Mapping[str, Callable[[bytes], None]] = {"mp3": walk_mp3, "adts": walk_adts, "ogg": walk_ogg}

_BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mp3_frame(data: bytes, at: int) -> int:
    """The size of the frame at `at`."""
    if at + 4 > len(data):
        raise Broken("its last frame is cut short")
    if data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        raise Broken("something that is no frame stands among its frames")
    version, bitrate, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        raise Broken("a frame's header is wrong")
    padding = data[at + 2] >> 1 & 1
    kilobits = (_BITRATES_1 if version == 3 else _BITRATES_2)[bitrate]
    return (144_000 if version == 3 else 72_000) * kilobits // _RATES[version][rate] + padding


def _after_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    a, b, c, d = (byte & 0x7F for byte in data[6:10])
    return 10 + (a << 21 | b << 14 | c << 7 | d)

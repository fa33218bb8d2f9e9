"""Walks through an encoded file frame by frame, so that a part that is missing is noticed.

FFmpeg conceals what is missing; a cache must not. Frame headers as ISO/IEC 11172-3 and 13818-3 (MP3), 13818-7
(ADTS) and RFC 3533 (Ogg) have them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping


class Broken(ValueError):
    """The frames do not follow one another to the end of the file."""


def walk_mp3(data: bytes) -> None:
    """Broken where the file is not MP3 frames from its beginning to its end, but for what players skip: ID3v2 tags
    before frames, other tags and padding after the last."""
    if not _runs_of_frames(data):
        raise Broken("it has no frames")


def without_tags(data: bytes) -> bytes:
    """The frames of an MP3 file alone: FFmpeg stumbles over what stands between them, or after the last."""
    runs = _runs_of_frames(data)
    return data if runs == [(0, len(data))] else b"".join(data[start:end] for start, end in runs)


def _runs_of_frames(data: bytes) -> list[tuple[int, int]]:
    """Where frames stand without a gap. Broken where something stands between that is neither frame nor tag."""
    runs: list[tuple[int, int]] = []
    end = len(data) - (128 if data[-128:-125] == b"TAG" else 0)  # ID3v1
    at = after_tags(data, 0)
    while at < end and not (runs and _is_tail(data[at:end])):
        start = at
        while at < end and data[at] == 0xFF:
            at += mp3_frame(data, at)
        if at > end:
            raise Broken("its last frame is cut short")
        if at == start:
            raise Broken("something that is no frame stands among its frames")
        runs.append((start, at))
        at = after_tags(data, at)
    return runs


def count_mp3(data: bytes) -> int:
    """How many frames an MP3 file without tags has."""
    count = at = 0
    while at < len(data):
        at, count = at + mp3_frame(data, at), count + 1
    return count


def mp3_packets(data: bytes, frames: int) -> Iterator[bytes]:
    """An MP3 file without tags in packets of so many frames. Broken where they are not all of one kind."""
    at = start = number = 0
    kind = mp3_kind(data, 0)
    while at < len(data):
        if mp3_kind(data, at) != kind:
            raise Broken("its sample rate or its channels change on the way")
        at, number = at + mp3_frame(data, at), number + 1
        if number % frames == 0 or at >= len(data):
            yield data[start:at]
            start = at


def mp3_kind(data: bytes, at: int) -> tuple[int, int, bool]:
    """Which version and sample rate the MP3 frame at `at` has, and whether it is mono."""
    return data[at + 1] & 0x18, data[at + 2] & 0x0C, data[at + 3] & 0xC0 == 0xC0


def tells_of_itself(data: bytes) -> bool:
    """Whether an MP3 file's first frame is no sound, but tells of the file."""
    first = data[: mp3_frame(data, 0)]
    return any(name in first for name in (b"Xing", b"Info", b"VBRI"))


def samples_in_mp3_frame(data: bytes) -> int:
    """How many samples the MP3 frame has that begins here, and every other of its file."""
    return 1_152 if data[1] >> 3 & 3 == 3 else 576


def is_mp3_frame(data: bytes) -> bool:
    """Whether an MP3 frame begins here."""
    try:
        return mp3_frame(data, 0) > 0
    except Broken:
        return False


def walk_adts(data: bytes) -> None:
    """Broken where the file is not ADTS frames from its beginning to its end, but for a tag before them."""
    at = after_tags(data, 0)
    if at >= len(data):
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


def mp3_frame(data: bytes, at: int) -> int:
    """The size of the frame at `at`, in bytes. Broken where none begins there."""
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


def after_tags(data: bytes, at: int) -> int:
    """Where the ID3v2 tags end that begin at `at`, be there none, one, or one after another (as in joined files)."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        a, b, c, d = (byte & 0x7F for byte in data[at + 6 : at + 10])
        footer = 10 if data[at + 5] & 0x10 else 0
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + footer
    return at


def _is_tail(rest: bytes) -> bool:
    """Whether only an APE tag or zeros follow the last frame."""
    if rest[0] == 0xFF:
        return False  # a frame, as nearly always
    if rest[-32:-24] != b"APETAGEX":
        return not rest.strip(b"\0")
    size, flags = (int.from_bytes(rest[field : field + 4], "little") for field in (len(rest) - 20, len(rest) - 12))
    return size + (32 if flags & 0x8000_0000 else 0) == len(rest)

"""The frame of no sound that tells players of an MP3 file how long it is, to the sample.

An encoder of MP3 begins late and fills its last frame up, which a player can leave out only where it is told: so
Xing's and LAME's encoders put an "Info" frame first (gabriel.mp3-tech.org/mp3infotag.html, "Mp3 Info Tag rev 1").
It can be written only when all is said; so kept copies have one, and what is streamed has not.
"""

from __future__ import annotations

import struct

from sayonce.audio import framing

#: How late LAME's encoder begins, in samples (lame.h, ENCDELAY), and what every decoder adds.
ENCODER_DELAY, DECODER_DELAY = 576, 529
_FRAMES, _BYTES, _SEEKING, _QUALITY = 1, 2, 4, 8
_ALL = _FRAMES | _BYTES | _SEEKING | _QUALITY
# Xing's: name, flags, frames, bytes, where each hundredth begins, quality. LAME's: encoder, revision and way (of
# constant bit rate), nothing on loudness, delays, nothing, bytes, no checksum of the sound. One of all this follows.
_LAYOUT = struct.Struct(">4sIII100sI 4s5xB11x3s4xI2x")
_HUNDREDTHS = bytes(256 * percent // 100 for percent in range(100))
_CHECKSUM = 2
# Whose delays decoders believe. What FFmpeg makes is "Lavc".
_KNOWN = (b"LAME", b"Lavc", b"Lavf")


def info_frame(said: bytes, samples: int) -> bytes:
    """What belongs before `said`, which is MP3 frames in mono at a constant bit rate, `samples` long."""
    frames = framing.count_mp3(said)
    padding = frames * framing.samples_in_mp3_frame(said) - ENCODER_DELAY - samples
    head, size = _roomy_frame(said)
    tag = head + _LAYOUT.pack(
        b"Info",
        _ALL,
        frames,
        size + len(said),
        _HUNDREDTHS,
        0,
        b"Lavc",
        1,
        (ENCODER_DELAY << 12 | padding).to_bytes(3, "big"),
        size + len(said),
    )
    return (tag + _crc(tag).to_bytes(_CHECKSUM, "big")).ljust(size, b"\0")


def padding_told(data: bytes) -> range:
    """Which samples of an MP3 file only fill its last frame up, counted from the first that is played, as the file's
    beginning tells it; none where it does not."""
    at = framing.after_tags(data, 0)
    names = [data.find(name, at + 4, at + 4 + 36) for name in (b"Info", b"Xing")]
    told = data[max(names) :][: _LAYOUT.size]
    if max(names) < 0 or len(told) < _LAYOUT.size:
        return range(0)
    _, flags, frames, _, _, _, encoder, _, delays, _ = _LAYOUT.unpack(told)
    if flags & _ALL != _ALL or not frames or encoder not in _KNOWN:
        return range(0)
    delay, padding = divmod(int.from_bytes(delays, "big"), 0x1000)
    end = frames * framing.samples_in_mp3_frame(data[at:]) - delay
    return range(end - padding, end - DECODER_DELAY)


def _roomy_frame(said: bytes) -> tuple[bytes, int]:
    """The beginning of a frame like those of `said`, of the lowest bit rate that has room, and its size."""
    side_information = bytes(17 if framing.samples_in_mp3_frame(said) == 1_152 else 9)
    for bitrate in range(said[2] >> 4, 15):
        head = bytes((said[0], said[1] | 1, bitrate << 4 | said[2] & 0x0C, said[3])) + side_information
        size = framing.mp3_frame(head, 0)
        if size >= len(head) + _LAYOUT.size + _CHECKSUM:
            return head, size
    raise AssertionError("at 160 kbit/s there is room at every rate")


def _crc(data: bytes) -> int:
    """CRC-16 of the polynomial 0x8005, low bits first, beginning at 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc

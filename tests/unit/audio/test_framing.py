"""Tags: what players skip is no damage, and whatever else is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest

from sayonce.audio import framing
from sayonce.audio.framing import Broken, walk_adts, walk_mp3
from sayonce.audio.probe import Undecodable, probe
from sayonce.speech.formats import BY_NAME, MP3
from sayonce.testing.vendors.sound import audio


@cache
def encoded(name: str) -> bytes:
    return audio("tags", 1.0, BY_NAME[name])


def _ape(items: bytes, *, header: bool) -> bytes:
    size, flags = (len(items) + 32).to_bytes(4, "little"), (0x8000_0000 if header else 0).to_bytes(4, "little")
    edge = b"APETAGEX" + (2_000).to_bytes(4, "little") + size + bytes(4)
    return (edge + flags + bytes(8) if header else b"") + items + edge + flags + bytes(8)


_ID3 = b"ID3\x04\0\0\0\0\0\x05hello"
_ID3V1 = b"TAG".ljust(128, b"\0")


@pytest.mark.parametrize(
    "tagged",
    [
        lambda mp3: _ID3 + mp3,
        lambda mp3: _ID3 + _ID3 + mp3,
        lambda mp3: mp3 + _ID3 + mp3,
        lambda mp3: b"ID3\x04\0\x10\0\0\0\x05hello" + b"3DI\x04\0\x10\0\0\0\x05" + mp3,
        lambda mp3: mp3 + _ID3V1,
        lambda mp3: mp3 + _ape(b"item", header=True),
        lambda mp3: mp3 + _ape(b"item", header=False) + _ID3V1,
        lambda mp3: mp3 + bytes(1_000),
        lambda mp3: mp3 + bytes(1_000) + _ID3V1,
    ],
)
def test_tags_that_players_skip_are_no_damage(tagged: Callable[[bytes], bytes]) -> None:
    mp3 = encoded("mp3")
    walk_mp3(tagged(mp3))
    assert probe(tagged(mp3), BY_NAME["mp3"]).duration > 0.5


@pytest.mark.parametrize(
    "broken",
    [
        lambda mp3: _ID3,
        lambda mp3: _ID3V1,
        lambda mp3: bytes(1_000),
        lambda mp3: mp3 + b"APETAGEX",
        lambda mp3: mp3 + _ape(b"item", header=True)[1:],
        lambda mp3: mp3[:-50] + _ID3V1,
        lambda mp3: mp3[: len(mp3) // 2 + 7] + bytes(1_000) + mp3,
        lambda mp3: mp3 + b"<html>",
        lambda mp3: mp3 + bytes(10) + b"x",
    ],
)
def test_what_no_player_skips_is_damage(broken: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Broken):
        walk_mp3(broken(encoded("mp3")))


def test_a_tag_before_adts() -> None:
    aac = encoded("aac")
    walk_adts(_ID3 + aac)
    with pytest.raises(Broken):
        walk_adts(_ID3)


@pytest.mark.parametrize("body", [b"\xff", b"\x00", b"\x5a"])
def test_no_frame_of_an_mp3_is_left_out(body: bytes) -> None:
    """Many frames are decoded at a time, and FFmpeg says nothing of one that it skips between others."""
    clip = audio("two seconds of it", 2.0, MP3)
    starts = [0]
    while starts[-1] < len(clip):
        starts.append(starts[-1] + framing.mp3_frame(clip, starts[-1]))
    refused = 0
    for start, end in pairwise(starts):
        try:
            assert probe(clip[: start + 4] + body * (end - start - 4) + clip[end:], MP3) == probe(clip, MP3)
        except Undecodable:
            refused += 1
    assert probe(clip, MP3).samples == (len(starts) - 1) * 576
    assert refused or body != b"\xff"

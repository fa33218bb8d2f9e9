"""Encoders that lose nothing, probes that miss nothing: on real speech, cut and damaged in every way."""

from __future__ import annotations

import asyncio
import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayonce.audio.check import plausible, recognise
from sayonce.audio.encode import StreamEncoder, finalise
from sayonce.audio.formats import coding, content_type, extension, format_of, of_extension
from sayonce.audio.probe import Undecodable, probe
from sayonce.audio.transcode import decoded, transcode
from sayonce.audio.wav import header
from sayonce.errors import UnsupportedFormat
from sayonce.providers import registry
from sayonce.speech.formats import BY_NAME, PCM, AudioFormat
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest

RAW = AudioFormat("pcm_s16le", "raw", 22_050)
NAMES = list(BY_NAME)
CODED = [name for name in NAMES if name != "pcm"]


@cache
def speech() -> bytes:
    """A sentence, spoken: 16-bit mono at 22,050 Hz."""

    async def speak() -> bytes:
        espeak = registry.make("espeak", "espeak", {})
        recipe = espeak.check(recipe_of(SpeechRequest(text="Say it once, serve it forever."), espeak.upstream))
        async with espeak.speak(recipe, RAW) as stream:
            said = b"".join([chunk.data async for chunk in stream.chunks])
        await espeak.aclose()
        return said

    return asyncio.run(speak())


@cache
def encoded(name: str) -> bytes:
    encoder = StreamEncoder(RAW, BY_NAME[name])
    return encoder.whole(encoder.feed(speech()) + encoder.finish())


def seconds() -> float:
    return len(speech()) / 2 / 22_050


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1_000, 1_001, 4_410, 30_000])
def test_equal_speech_gives_equal_bytes(name: str, step: int) -> None:
    encoder = StreamEncoder(RAW, BY_NAME[name])
    pieces = [encoder.feed(speech()[at : at + step]) for at in range(0, len(speech()), step)]
    assert encoder.whole(b"".join([*pieces, encoder.finish()])) == encoded(name)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("wav", 0), ("flac", 0), ("pcm", 1e-4), ("opus", 1e-4), ("mp3", 0), ("aac", 0.1)]
)
def test_nothing_is_lost_at_the_end(name: str, tolerance: float) -> None:
    assert probe(encoded(name), BY_NAME[name]).duration == pytest.approx(seconds(), abs=tolerance or 1e-9)


@pytest.mark.parametrize(
    ("name", "most"), [("mp3", 120), ("opus", 160), ("aac", 140), ("flac", 160), ("wav", 30), ("pcm", 30)]
)
def test_the_first_bytes_come_early(name: str, most: int) -> None:
    """After at most so many milliseconds of speech there is sound to hear, headers not counted."""
    encoder = StreamEncoder(RAW, BY_NAME[name])
    block, out, at = 441, 0, 0
    while out < 200:
        out += len(encoder.feed(speech()[at : at + block]))
        at += block
    encoder.close()
    assert at / 2 / 22.05 <= most


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_every_format_becomes_every_other(source: str, target: str) -> None:
    other = transcode(encoded(source), BY_NAME[source], BY_NAME[target])
    assert probe(other, BY_NAME[target]).duration == pytest.approx(seconds(), abs=0.25)
    assert recognise(other[:64], BY_NAME[target]) is True


@pytest.mark.parametrize("name", CODED)
def test_what_is_cut_short_is_noticed(name: str) -> None:
    whole = encoded(name)
    chance = random.Random(1)
    cuts = {0, 1, 4, 12, 36, 44, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(150))}
    passed = [cut for cut in cuts if _passes(whole[:cut], name)]
    # Between two frames of MP3 or ADTS nothing tells that there were more.
    assert len(passed) <= (3 if name in ("mp3", "aac") else 0), passed


@pytest.mark.parametrize("name", ["opus", "flac", "wav", "mp3", "aac"])
def test_a_hole_is_noticed(name: str) -> None:
    whole = encoded(name)
    chance = random.Random(2)
    holes = [
        (at, at + chance.randrange(20, 400)) for at in (chance.randrange(60, len(whole) - 500) for _ in range(60))
    ]
    passed = [hole for hole in holes if _passes(whole[: hole[0]] + whole[hole[1] :], name)]
    assert len(passed) <= 2, passed


@pytest.mark.parametrize("name", ["opus", "flac"])
def test_a_flipped_bit_is_noticed(name: str) -> None:
    whole = bytearray(encoded(name))
    for at in random.Random(3).sample(range(len(whole)), 60):
        whole[at] ^= 0x10
        assert not _passes(bytes(whole), name), at
        whole[at] ^= 0x10


def _passes(data: bytes, name: str) -> bool:
    try:
        probe(finalise(data, BY_NAME[name]), BY_NAME[name])
    except Undecodable:
        return False
    return True


@pytest.mark.parametrize("name", CODED)
@given(data=st.binary(max_size=2_000))
@settings(max_examples=60, deadline=None)
def test_garbage_is_only_ever_undecodable(name: str, data: bytes) -> None:
    for raw in (data, encoded(name)[:200] + data):
        assert not _passes(raw, name)
        with pytest.raises(Undecodable):
            transcode(raw, BY_NAME[name], BY_NAME["mp3"])


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("other", CODED)
def test_another_format_is_not_taken_for_it(name: str, other: str) -> None:
    assert (recognise(encoded(other)[:64], BY_NAME[name]) is True) == (name == other)
    assert _passes(encoded(other), name) == (name == other)


@pytest.mark.parametrize(
    "prefix", [b"<html><body>404 Not Found</body></html>      ", b'{"error": {"message": "no"}}' * 2, b"\0" * 64]
)
@pytest.mark.parametrize("name", CODED)
def test_what_errors_look_like_is_not_taken_for_audio(name: str, prefix: bytes) -> None:
    assert recognise(prefix, BY_NAME[name]) is False


def test_raw_audio_may_begin_in_any_way() -> None:
    assert recognise(b"<", PCM) is True
    assert probe(b"<{" * 500, PCM).samples == 500
    for broken in (b"", b"odd"):
        with pytest.raises(Undecodable):
            probe(broken, PCM)


@pytest.mark.parametrize(
    "head",
    [
        header(22_050, 0xFFFFFFFF),
        header(22_050, 0x7FFFFFFF),
        header(22_050, 0),
        header(22_050, 8_000)[:36] + b"LIST\x04\0\0\0abcd" + b"data" + (0xFFFFFFFF).to_bytes(4, "little"),
    ],
)
def test_streamed_wavs_get_their_true_length(head: bytes) -> None:
    kept = finalise(head + b"\1\0" * 4_000, BY_NAME["wav"])
    assert probe(kept, BY_NAME["wav"]).samples == 4_000
    assert int.from_bytes(kept[4:8], "little") == len(kept) - 8
    assert kept[len(head) - 4 : len(head)] == (8_000).to_bytes(4, "little")


@pytest.mark.parametrize(
    "wav",
    [
        b"",
        header(22_050, 100),
        header(22_050, 100) + b"x" * 99,
        header(1, 100) + b"x" * 100,
        header(22_050, 99) + b"x" * 99,
        (header(22_050, 100) + b"x" * 100) * 2,
        header(22_050, 100).replace(b"\x10\0data", b"\x08\0data") + b"x" * 100,
    ],
    ids=len,
)
def test_wavs_that_are_none(wav: bytes) -> None:
    assert not _passes(wav, "wav")


def test_stereo_becomes_mono() -> None:
    stereo = bytearray(header(22_050, 8_000))
    stereo[22:24] = (2).to_bytes(2, "little")
    pcm, rate = decoded(bytes(stereo) + b"\0\1" * 4_000, BY_NAME["wav"])
    assert (len(pcm), rate) == (4_000, 22_050)


def test_names_and_types() -> None:
    assert format_of("mp3") == BY_NAME["mp3"]
    assert [extension(BY_NAME[name]) for name in NAMES] == NAMES
    assert of_extension("opus") == BY_NAME["opus"]
    assert of_extension("exe") is None
    assert content_type(BY_NAME["mp3"]) == "audio/mpeg"
    for wrong in ("mp9", "", "MP3", "../mp3"):
        with pytest.raises(UnsupportedFormat, match="mp3, opus, aac, flac, wav, pcm"):
            format_of(wrong)
    with pytest.raises(UnsupportedFormat):
        coding(AudioFormat("vorbis", "ogg"))


@pytest.mark.parametrize(
    ("text", "duration", "language", "speed", "possible"),
    [
        ("Hi.", 0.3, None, 1, True),
        ("1999", 1.6, None, 1, True),
        ("12345678901234567890", 14.0, None, 1, True),
        ("Say it once, serve it forever. " * 10, 20.0, None, 1, True),
        ("Say it once, serve it forever. " * 10, 0.5, None, 1, False),
        ("Say it once, serve it forever. " * 10, 500.0, None, 1, False),
        ("Say it once, serve it forever. " * 10, 5.5, None, 4, True),
        ("今天天气很好，我们去公园散步吧。", 5.0, None, 1, True),
        ("今天天气很好，我们去公园散步吧。" * 10, 2.0, "zh-CN", 1, False),
        ("Hi.", 60.0, None, 1, False),
    ],
)
def test_what_can_be(text: str, duration: float, language: str | None, speed: float, possible: bool) -> None:
    assert plausible(duration, text, language, speed) is possible

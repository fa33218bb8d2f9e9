"""Who has heard the beginning of a stream gets the rest of what was kept of it, and of nothing else."""

from __future__ import annotations

import math
import struct

import pytest

from sayonce.audio.encode import StreamEncoder
from sayonce.audio.formats import format_of
from sayonce.audio.tail import rest_of
from sayonce.speech.formats import PCM, TELEPHONE, AudioFormat

FORMATS = {name: format_of(name) for name in ("mp3", "opus", "aac", "flac", "wav", "pcm")} | TELEPHONE


def tone(hertz: float) -> bytes:
    """Two seconds of a tone that changes."""
    samples = (math.sin(2 * math.pi * hertz * n / 24_000 * (1 + n / 48_000)) for n in range(48_000))
    return b"".join(struct.pack("<h", round(12_000 * each)) for each in samples)


def said_and_kept(pcm: bytes, audio_format: AudioFormat) -> tuple[bytes, bytes]:
    """What is streamed of it, and what is kept."""
    encoder = StreamEncoder(PCM, audio_format)
    said = encoder.feed(pcm) + encoder.finish()
    return said, encoder.whole(said)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_the_rest_of_what_was_streamed(name: str, part: float) -> None:
    said, kept = said_and_kept(tone(440), FORMATS[name])
    heard = said[: int(len(said) * part)]
    rest = rest_of(kept, heard, FORMATS[name])
    assert rest is not None
    assert (heard + rest if heard else rest) == (said if heard else kept)


@pytest.mark.parametrize("name", FORMATS)
def test_another_take_is_not_of_one_piece_with_it(name: str) -> None:
    said, _ = said_and_kept(tone(440), FORMATS[name])
    _, other = said_and_kept(tone(523), FORMATS[name])
    assert rest_of(other, said[: len(said) // 2], FORMATS[name]) is None


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_shorter_than_what_was_heard_is_not_it(name: str) -> None:
    said, kept = said_and_kept(tone(440), FORMATS[name])
    assert rest_of(kept[: len(kept) // 3], said[: len(said) // 2], FORMATS[name]) is None

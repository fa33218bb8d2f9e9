"""Every format of the dialects, there and back; and transcoding what is still coming."""

from __future__ import annotations

import asyncio
import math
import random
import struct
import threading
from array import array

import pytest

from sayonce.audio.decode import StreamDecoder
from sayonce.audio.encode import StreamEncoder
from sayonce.audio.formats import any_format_of, coding, content_type, extension
from sayonce.audio.probe import Undecodable, probe
from sayonce.audio.transcode import LiveTranscoder, decoded, transcode
from sayonce.errors import UnsupportedFormat
from sayonce.speech.dialects import DEEPGRAM, ELEVENLABS, deepgram_content_type, deepgram_format, deepgram_query
from sayonce.speech.formats import AAC, BY_NAME, FLAC, MP3, OPUS, PCM, TELEPHONE, WAV, AudioFormat

RATE = 24_000
ALL = sorted({*BY_NAME.values(), *ELEVENLABS.values(), *DEEPGRAM}, key=str)
MP3S = [fmt for fmt in ALL if fmt.codec == "mp3"]
SOME = [MP3, OPUS, AAC, FLAC, WAV, PCM, TELEPHONE["ulaw"], TELEPHONE["alaw"], AudioFormat("pcm_mulaw", "wav", 8_000)]


def tone(seconds: float = 2.0, rate: int = RATE) -> bytes:
    count = int(seconds * rate)
    return struct.pack(f"<{count}h", *(int(9_000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(count)))


def made(audio_format: AudioFormat, seconds: float = 2.0) -> bytes:
    encoder = StreamEncoder(PCM, audio_format)
    return encoder.whole(encoder.feed(tone(seconds)) + encoder.finish())


def loudness(pcm: bytes) -> float:
    """Root mean square, of the middle."""
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return math.sqrt(sum(sample * sample for sample in middle) / len(middle))


@pytest.mark.parametrize("audio_format", ALL, ids=str)
def test_every_format_there_and_back(audio_format: AudioFormat) -> None:
    data = made(audio_format)
    found = probe(data, audio_format)
    slack = 0.12 if audio_format.codec == "aac" else 0.0001  # it comes in whole frames, and begins late
    assert found.duration == pytest.approx(2.0, abs=slack)
    assert audio_format.rate in (None, found.sample_rate)
    pcm, rate = decoded(data, audio_format)
    assert rate == found.sample_rate
    assert len(pcm) // 2 == found.samples
    assert abs(20 * math.log10(loudness(pcm) / loudness(tone()))) < 1.0
    if audio_format.bitrate is not None and audio_format.codec == "mp3":
        assert len(data) * 8 / 2.0 == pytest.approx(audio_format.bitrate, rel=0.06)


@pytest.mark.parametrize("audio_format", sorted(set(MP3S), key=str), ids=str)
def test_an_mp3_begins_and_ends_where_the_speech_does(audio_format: AudioFormat) -> None:
    rate = audio_format.rate or RATE
    chance = random.Random(1)
    burst = [int(chance.gauss(0, 3_000)) for _ in range(rate // 4)]
    said = array("h", [*burst, *([0] * (rate // 2 + 7)), *burst])
    encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", rate), audio_format)
    whole = encoder.whole(encoder.feed(said.tobytes()) + encoder.finish())
    for pcm in (decoded(whole, audio_format)[0], live([whole], audio_format, AudioFormat("pcm_s16le", "raw", rate))):
        heard = array("h", pcm)
        assert len(heard) == len(said)
        assert max(range(-40, 41), key=lambda shift: likeness(said, heard, rate // 8, shift)) == 0


def likeness(said: array[int], heard: array[int], at: int, shift: int) -> int:
    return sum(said[n] * heard[n + shift] for n in range(at, at + 600))


def test_what_follows_an_mp3s_padding_is_heard() -> None:
    whole = made(MP3, 0.5)
    joined = live([whole + whole], MP3, PCM)
    assert len(joined) / 2 / RATE == pytest.approx(1.0, abs=0.12), "the second one's own padding is in the middle"


def chopped(data: bytes, seed: int) -> list[bytes]:
    cuts = sorted(random.Random(seed).randrange(len(data)) for _ in range(40))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def live(pieces: list[bytes], source: AudioFormat, target: AudioFormat) -> bytes:
    transcoder = LiveTranscoder(source, target)
    try:
        return transcoder.whole(b"".join([*(transcoder.feed(piece) for piece in pieces), transcoder.finish()]))
    finally:
        transcoder.close()


@pytest.mark.parametrize("target", SOME, ids=str)
@pytest.mark.parametrize("source", SOME, ids=str)
def test_live_is_what_transcoding_the_whole_gives_however_it_was_cut(
    source: AudioFormat, target: AudioFormat
) -> None:
    data = made(source)
    whole = transcode(data, source, target)
    for pieces in ([data], chopped(data, 1), chopped(data, 2)):
        assert live(pieces, source, target) == whole


@pytest.mark.parametrize("source", [MP3, OPUS, AAC, FLAC, WAV, TELEPHONE["ulaw"]], ids=str)
def test_byte_by_byte(source: AudioFormat) -> None:
    data = made(source, 0.3)
    assert live([bytes([byte]) for byte in data], source, PCM) == transcode(data, source, PCM)


@pytest.mark.parametrize("target", SOME, ids=str)
@pytest.mark.parametrize("source", SOME, ids=str)
def test_it_is_heard_early(source: AudioFormat, target: AudioFormat) -> None:
    data = made(source, 10.0)
    transcoder = LiveTranscoder(source, target)
    heard = 0
    for at in range(0, len(data), 512):
        heard += len(transcoder.feed(data[at : at + 512]))
        if heard > 200:
            break
    transcoder.close()
    assert at < len(data) / 8


@pytest.mark.parametrize("source", [MP3, OPUS, AAC, FLAC, WAV], ids=str)
def test_what_is_no_audio(source: AudioFormat) -> None:
    for wrong in (b"", b"<html>Bad gateway</html>" * 1_000, bytes(100_000)):
        with pytest.raises(Undecodable):
            live([wrong], source, PCM)


@pytest.mark.parametrize("source", [MP3, FLAC, TELEPHONE["ulaw"]], ids=str)
def test_giving_up_leaves_no_thread_behind(source: AudioFormat) -> None:
    before = threading.active_count()
    for _ in range(5):
        transcoder = LiveTranscoder(source, OPUS)
        transcoder.feed(made(source)[:5_000])
        transcoder.close()
    for thread in threading.enumerate():
        if thread.name == "sayonce-decode":
            thread.join(10)
    assert threading.active_count() <= before


async def test_many_at_once() -> None:
    data = made(MP3)
    whole = transcode(data, MP3, OPUS)
    heard = await asyncio.gather(*(asyncio.to_thread(live, chopped(data, n), MP3, OPUS) for n in range(20)))
    assert set(heard) == {whole}


def test_half_a_sample_at_the_end() -> None:
    decoder = StreamDecoder(PCM)
    assert decoder.feed(b"\1\2\3") == b"\1\2"
    with pytest.raises(Undecodable, match="cut short"):
        decoder.finish()


def test_names_and_content_types() -> None:
    assert any_format_of("ulaw") == AudioFormat("pcm_mulaw", "raw", 8_000)
    assert any_format_of("mp3_44100_192") == AudioFormat("mp3", "mp3", 44_100, 192_000)
    assert (content_type(TELEPHONE["ulaw"]), extension(TELEPHONE["ulaw"])) == ("audio/ulaw", "ulaw")
    with pytest.raises(UnsupportedFormat, match="mp3_44100_128"):
        any_format_of("mp3_44100")
    assert all(coding(known) for known in ALL)


@pytest.mark.parametrize(
    ("query", "wanted", "kind"),
    [
        ({}, AudioFormat("mp3", "mp3", 22_050, 48_000), "audio/mpeg"),
        ({"encoding": "linear16"}, AudioFormat("pcm_s16le", "wav", 24_000), "audio/wav"),
        (
            {"encoding": "linear16", "container": "none", "sample_rate": 16_000},
            AudioFormat("pcm_s16le", "raw", 16_000),
            "audio/l16;rate=16000",
        ),
        ({"encoding": "mulaw"}, AudioFormat("pcm_mulaw", "wav", 8_000), "audio/wav"),
        (
            {"encoding": "alaw", "container": "none"},
            AudioFormat("pcm_alaw", "raw", 8_000),
            "audio/alaw;rate=8000",
        ),
        ({"encoding": "opus"}, AudioFormat("opus", "ogg", 48_000), "audio/ogg;codecs=opus"),
        (
            {"encoding": "opus", "bit_rate": 24_000},
            AudioFormat("opus", "ogg", 48_000, 24_000),
            "audio/ogg;codecs=opus",
        ),
        ({"encoding": "flac"}, AudioFormat("flac", "flac", 48_000), "audio/flac"),
        ({"encoding": "aac"}, AudioFormat("aac", "adts", 22_050), "audio/aac"),
        ({"encoding": "mp3", "bit_rate": 32_000}, AudioFormat("mp3", "mp3", 22_050, 32_000), "audio/mpeg"),
    ],
)
def test_deepgrams_parameters(query: dict[str, object], wanted: AudioFormat, kind: str) -> None:
    assert deepgram_format(**query) == wanted  # type: ignore[arg-type]
    assert deepgram_content_type(wanted) == kind


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"encoding": "vorbis"}, "encoding"),
        ({"encoding": "mp3", "container": "wav"}, "container"),
        ({"encoding": "linear16", "sample_rate": 44_100}, "sample_rate"),
        ({"encoding": "opus", "sample_rate": 24_000}, "sample_rate"),
        ({"encoding": "mp3", "bit_rate": 128_000}, "bit_rate"),
        ({"encoding": "linear16", "bit_rate": 48_000}, "bit_rate"),
        ({"encoding": "aac", "bit_rate": 1_000}, "bit_rate"),
    ],
)
def test_what_deepgram_refuses(query: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        deepgram_format(**query)  # type: ignore[arg-type]
    assert refused.value.param == param


@pytest.mark.parametrize("audio_format", DEEPGRAM, ids=str)
def test_deepgrams_parameters_name_its_formats(audio_format: AudioFormat) -> None:
    query = {name: int(value) if value.isdecimal() else value for name, value in deepgram_query(audio_format).items()}
    assert deepgram_format(**query) == audio_format  # type: ignore[arg-type]

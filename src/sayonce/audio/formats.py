"""What each audio format is called, how it is sent, and what FFmpeg calls its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sayonce.errors import UnsupportedFormat
from sayonce.speech.dialects import ELEVENLABS
from sayonce.speech.formats import BY_NAME, TELEPHONE, AudioFormat


@dataclass(frozen=True, slots=True)
class Coding:
    """One codec in one container. `muxer` is empty for samples, which need none. `rates` in Hz, where it cannot take
    over any; `bitrate` in bits a second, chosen for speech, and `highest`, above which the encoder does not go."""

    content_type: str
    extension: str
    lossless: bool
    encoder: str
    muxer: str = ""
    rates: tuple[int, ...] = ()
    bitrate: int | None = None
    highest: int | None = None


_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LAW_RATES = (8_000, 16_000)
_AAC_RATES = (*_MP3_RATES, 64_000, 88_200, 96_000)

# Content types as OpenAI's API sends them (observed 2026-11: audio/mpeg, audio/opus, audio/aac, audio/flac,
# audio/wav, audio/pcm), but for Opus: what comes is an Ogg file, and players go by audio/ogg. audio/ulaw is what
# Twilio's <Play> takes.
_CODINGS: dict[tuple[str, str], Coding] = {
    ("mp3", "mp3"): Coding("audio/mpeg", "mp3", False, "libmp3lame", "mp3", _MP3_RATES, 64_000),
    ("opus", "ogg"): Coding("audio/ogg; codecs=opus", "opus", False, "libopus", "ogg", (48_000,), 32_000, 256_000),
    ("aac", "adts"): Coding("audio/aac", "aac", False, "aac", "adts", _AAC_RATES, 64_000),
    ("flac", "flac"): Coding("audio/flac", "flac", True, "flac", "flac"),
    ("pcm_s16le", "wav"): Coding("audio/wav", "wav", True, "pcm_s16le"),
    ("pcm_s16le", "raw"): Coding("audio/pcm", "pcm", True, "pcm_s16le"),
    ("pcm_mulaw", "wav"): Coding("audio/wav", "wav", False, "pcm_mulaw", rates=_LAW_RATES),
    ("pcm_mulaw", "raw"): Coding("audio/ulaw", "ulaw", False, "pcm_mulaw", rates=_LAW_RATES),
    ("pcm_alaw", "wav"): Coding("audio/wav", "wav", False, "pcm_alaw", rates=_LAW_RATES),
    ("pcm_alaw", "raw"): Coding("audio/alaw", "alaw", False, "pcm_alaw", rates=_LAW_RATES),
}


def coding(audio_format: AudioFormat) -> Coding:
    """How a format is coded; UnsupportedFormat where it cannot be."""
    known = _CODINGS.get((audio_format.codec, audio_format.container))
    if known is None:
        raise UnsupportedFormat(
            f"There is no audio format {audio_format.codec} in {audio_format.container}.",
            param="response_format",
            remedy=_known_names(),
        )
    return known


def format_of(name: str) -> AudioFormat:
    """The format of a name of OpenAI's (`mp3`, `opus`, `aac`, `flac`, `wav`, `pcm`)."""
    return _named(name, BY_NAME)


def any_format_of(name: str) -> AudioFormat:
    """The format of any public name: OpenAI's, the telephone's (`ulaw`, `alaw`), or ElevenLabs' (`mp3_44100_128`)."""
    return _named(name, _ALL)


def _named(name: str, known: Mapping[str, AudioFormat]) -> AudioFormat:
    found = known.get(name)
    if found is None:
        raise UnsupportedFormat(
            "There is no such audio format.", param="response_format", remedy=f"Use one of: {', '.join(known)}."
        )
    return found


_ALL = {**BY_NAME, **TELEPHONE, **ELEVENLABS}


def of_extension(extension: str) -> AudioFormat | None:
    """The format that files of this extension hold; None where no format has it."""
    return next((fmt for fmt in _ALL.values() if coding(fmt).extension == extension), None)


def content_type(audio_format: AudioFormat) -> str:
    """What a door answers as Content-Type."""
    return coding(audio_format).content_type


def extension(audio_format: AudioFormat) -> str:
    """What a file of it ends in, without the dot."""
    return coding(audio_format).extension


def is_lossless(audio_format: AudioFormat) -> bool:
    """Whether nothing is lost by coding it so."""
    return coding(audio_format).lossless


def tells_length(audio_format: AudioFormat) -> bool:
    """Whether its header says how long it is, so that the kept copy's first bytes are not the streamed one's."""
    return audio_format.container in ("wav", "flac")


def is_raw(audio_format: AudioFormat) -> bool:
    """Whether it is samples alone, with nothing that tells where they begin or end."""
    return audio_format.container == "raw"


def _known_names() -> str:
    return f"Use one of: {', '.join(BY_NAME)}."

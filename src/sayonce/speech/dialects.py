"""What vendors' dialects call the audio formats.

Facts: ElevenLabs' and Deepgram's API references and what their Python clients 2.78 and 7.17 offer (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sayonce.errors import UnsupportedFormat
from sayonce.speech.formats import AudioFormat

_PCM_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_KBITS = (32, 64, 96, 128, 192)

#: ElevenLabs' `output_format`s.
ELEVENLABS: Mapping[str, AudioFormat] = {
    "mp3_22050_32": AudioFormat("mp3", "mp3", 22_050, 32_000),
    "mp3_24000_48": AudioFormat("mp3", "mp3", 24_000, 48_000),
    **{f"mp3_44100_{kbit}": AudioFormat("mp3", "mp3", 44_100, kbit * 1_000) for kbit in _KBITS},
    **{f"pcm_{rate}": AudioFormat("pcm_s16le", "raw", rate) for rate in _PCM_RATES},
    **{f"wav_{rate}": AudioFormat("pcm_s16le", "wav", rate) for rate in _PCM_RATES},
    "ulaw_8000": AudioFormat("pcm_mulaw", "raw", 8_000),
    "alaw_8000": AudioFormat("pcm_alaw", "raw", 8_000),
    **{f"opus_48000_{kbit}": AudioFormat("opus", "ogg", 48_000, kbit * 1_000) for kbit in _KBITS},
}

#: OpenAI's own models and voices, which its clients must name, whoever speaks (its API reference, 2026-11).
OPENAI_MODELS = frozenset(
    {"tts-1", "tts-1-1106", "tts-1-hd", "tts-1-hd-1106"}
    | {"gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-03-20", "gpt-4o-mini-tts-2025-12-15"}
)
OPENAI_VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)

_ELEVENLABS_NAMES = {known: name for name, known in ELEVENLABS.items()}


def elevenlabs_name(audio_format: AudioFormat) -> str:
    """What ElevenLabs calls a format of its own."""
    return _ELEVENLABS_NAMES[audio_format]


@dataclass(frozen=True, slots=True)
class _Encoding:
    """One of Deepgram's `encoding`s. The first of each list is its default; `content_type` is what it answers without
    a container that says more."""

    codec: str
    containers: Mapping[str, str]  # Deepgram's word for it, and ours
    rates: tuple[int, ...]
    bitrates: tuple[int | None, ...]
    content_type: str


_WAV_OR_RAW = {"wav": "wav", "none": "raw"}
_ENCODINGS: Mapping[str, _Encoding] = {
    "linear16": _Encoding(
        "pcm_s16le", _WAV_OR_RAW, (24_000, 8_000, 16_000, 32_000, 48_000), (None,), "audio/l16;rate={rate}"
    ),
    "mulaw": _Encoding("pcm_mulaw", _WAV_OR_RAW, (8_000, 16_000), (None,), "audio/mulaw;rate={rate}"),
    "alaw": _Encoding("pcm_alaw", _WAV_OR_RAW, (8_000, 16_000), (None,), "audio/alaw;rate={rate}"),
    "mp3": _Encoding("mp3", {"none": "mp3"}, (22_050,), (48_000, 32_000), "audio/mpeg"),
    "opus": _Encoding("opus", {"ogg": "ogg"}, (48_000,), (None,), "audio/ogg;codecs=opus"),
    "flac": _Encoding("flac", {"none": "flac"}, (48_000, 8_000, 16_000, 22_050, 32_000), (None,), "audio/flac"),
    "aac": _Encoding("aac", {"none": "adts"}, (22_050,), (None,), "audio/aac"),
}
# Opus and AAC take any bit rate between these, in bits a second.
_ANY_BITRATE = {"opus": (4_000, 650_000), "aac": (4_000, 192_000)}


def deepgram_format(
    encoding: str | None = None,
    container: str | None = None,
    sample_rate: int | None = None,
    bit_rate: int | None = None,
) -> AudioFormat:
    """The format of Deepgram's four parameters, each with its default. UnsupportedFormat, naming the parameter,
    for what Deepgram refuses."""
    name = encoding or "mp3"
    known = _ENCODINGS.get(name)
    if known is None:
        raise _unsupported("encoding", _ENCODINGS)
    if container is not None and container not in known.containers:
        raise _unsupported("container", known.containers)
    if sample_rate is not None and sample_rate not in known.rates:
        raise _unsupported("sample_rate", known.rates)
    chosen = known.containers[container or next(iter(known.containers))]
    return AudioFormat(known.codec, chosen, sample_rate or known.rates[0], _bitrate(name, known, bit_rate))


def _bitrate(name: str, known: _Encoding, told: int | None) -> int | None:
    if told is None:
        return known.bitrates[0]
    least, most = _ANY_BITRATE.get(name, (0, -1))
    if told not in known.bitrates and not least <= told <= most:
        raise _unsupported("bit_rate", [each for each in known.bitrates if each] or ["none"])
    return told


def deepgram_query(audio_format: AudioFormat) -> Mapping[str, str]:
    """Deepgram's parameters for one of its formats. KeyError where it is none of them."""
    name = _NAMES[audio_format.codec]
    known = _ENCODINGS[name]
    query = {"encoding": name}
    if known.containers != {"none": audio_format.container}:
        query["container"] = next(word for word, ours in known.containers.items() if ours == audio_format.container)
    if len(known.rates) > 1:
        query["sample_rate"] = str(audio_format.rate or known.rates[0])
    if audio_format.bitrate is not None:
        query["bit_rate"] = str(audio_format.bitrate)
    return query


_NAMES = {known.codec: name for name, known in _ENCODINGS.items()}

#: Deepgram's formats, each encoding's default first.
DEEPGRAM: tuple[AudioFormat, ...] = tuple(
    AudioFormat(known.codec, container, rate, bitrate)
    for known in _ENCODINGS.values()
    for container in known.containers.values()
    for rate in known.rates
    for bitrate in known.bitrates
)


def deepgram_content_type(audio_format: AudioFormat) -> str:
    """What Deepgram answers as Content-Type."""
    if audio_format.container == "wav":
        return "audio/wav"
    return _ENCODINGS[_NAMES[audio_format.codec]].content_type.format(rate=audio_format.rate)


def _unsupported(param: str, known: object) -> UnsupportedFormat:
    names = ", ".join(map(str, known)) if isinstance(known, Mapping | tuple | list) else ""
    where = "" if param == "encoding" else " with that encoding"
    return UnsupportedFormat(f"There is no such '{param}'{where}.", param=param, remedy=f"Use: {names}.")

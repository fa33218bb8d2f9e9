"""Is it what it says it is, and can it be speech of that text?"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from sayonce.audio import framing
from sayonce.speech.formats import AudioFormat

# Han, kana and hangul begin here; what comes before is written in letters, or nearly so.
_FIRST_IDEOGRAPH = "\u2e80"


def recognise(prefix: bytes, audio_format: AudioFormat) -> bool | None:
    """Whether a file that begins so is of that format; None where more must come to tell. Raw audio begins in any
    way: judging it by its first bytes would refuse one recording in a hundred."""
    if audio_format.container == "raw":
        return True
    if len(prefix) < 36:
        return None
    match audio_format.container:
        case "mp3":
            return prefix[:3] == b"ID3" or framing.is_mp3_frame(prefix)
        case "adts":
            return prefix[:3] == b"ID3" or (prefix[0] == 0xFF and prefix[1] & 0xF6 == 0xF0)
        case "ogg":
            return prefix[:4] == b"OggS" and prefix[28:36] == b"OpusHead"
        case "flac":
            return prefix[:4] == b"fLaC"
        case _:
            return prefix[:4] == b"RIFF" and prefix[8:12] == b"WAVE"


def plausible(duration: float, text: str, language: str | None, speed: float) -> bool:
    """Whether saying `text` at `speed` can take `duration` seconds. The bounds are data: `durations.toml`."""
    bounds = _bounds()
    voiced = sum(map(str.isalnum, text))
    spoken = bounds.get(_language(text, language), bounds["default"])
    least = voiced / spoken["fastest"] / speed - bounds["slack_short"]
    most = len(text) / spoken["slowest"] / speed + bounds["slack_long"]
    return bool(least <= duration <= most)


def _language(text: str, language: str | None) -> str:
    if language is not None:
        return language.partition("-")[0].lower()
    return "zh" if sum(char >= _FIRST_IDEOGRAPH for char in text) * 2 > len(text) else "default"


@cache
def _bounds() -> dict[str, Any]:
    return tomllib.loads((files("sayonce.audio") / "durations.toml").read_text(encoding="utf-8"))

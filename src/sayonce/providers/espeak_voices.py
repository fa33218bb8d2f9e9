"""espeak-ng's voices, and how it stands in for the voices that OpenAI's clients ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sayonce.providers.contract import Voice

DEFAULT_LANGUAGE = "en-us"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A variant of espeak's voice with its own pitch and liveliness (0 to 99 each)."""

    variant: str
    pitch: int
    range: int
    gender: str


# OpenAI's voices (its API reference, 2026-11), each told apart by ear: a variant, a pitch, a liveliness.
STAND_INS: Mapping[str, StandIn] = {
    "alloy": StandIn("f4", 40, 45, "neutral"),
    "ash": StandIn("m3", 42, 50, "male"),
    "ballad": StandIn("m7", 55, 75, "male"),
    "coral": StandIn("f2", 58, 65, "female"),
    "echo": StandIn("m1", 48, 40, "male"),
    "fable": StandIn("m4", 60, 70, "male"),
    "onyx": StandIn("m2", 18, 35, "male"),
    "nova": StandIn("f3", 62, 60, "female"),
    "sage": StandIn("f1", 46, 40, "female"),
    "shimmer": StandIn("f5", 72, 55, "female"),
    "verse": StandIn("m5", 52, 60, "male"),
    "marin": StandIn("f2", 44, 80, "female"),
    "cedar": StandIn("m6", 34, 60, "male"),
}

#: OpenAI's models, and how much livelier each makes a voice: audibly another, as its recipe is.
MODELS: Mapping[str, int] = {
    "tts-1": 0,
    "tts-1-hd": 12,
    "gpt-4o-mini-tts": 22,
    "gpt-4o-mini-tts-2025-03-20": -12,
    "gpt-4o-mini-tts-2025-12-15": -22,
}


@cache
def languages(data: Path) -> Mapping[str, str]:
    """espeak's own voices: the names of its languages by their tags, read from its data files."""
    found = (_language(file) for file in (data / "lang").rglob("*") if file.is_file())
    return dict(sorted(entry for entry in found if entry is not None))


@cache
def variants(data: Path) -> frozenset[str]:
    """The variants that may follow a voice's `+`."""
    return frozenset(file.name for file in (data / "voices" / "!v").iterdir())


def voices(data: Path) -> tuple[Voice, ...]:
    """All voices but the variants, OpenAI's names first."""
    own = tuple(Voice(tag, name, (tag,)) for tag, name in languages(data).items())
    return (
        *(Voice(name, name.capitalize(), (DEFAULT_LANGUAGE,), how.gender) for name, how in STAND_INS.items()),
        *own,
    )


def _language(file: Path) -> tuple[str, str] | None:
    name = tag = ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "name" and not name:
            name = rest.strip()
        elif word == "language" and not tag:
            tag = rest.split()[0].lower()
    return (tag, name or tag) if tag else None

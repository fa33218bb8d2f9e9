"""espeak-ng's voices, and how it stands in for the voices that vendors' clients ask for."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from sayonce.providers.contract import Voice

DEFAULT_LANGUAGE = "en-us"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A variant of espeak's voice with its own pitch and liveliness (0 to 99 each), under the name that a vendor
    gives it. `language` is the one it speaks where a request names none."""

    variant: str
    pitch: int
    range: int
    gender: str
    id: str = ""
    name: str = ""
    language: str | None = None


# OpenAI's voices (its API reference, 2026-11), each told apart by ear: a variant, a pitch, a liveliness.
_OPENAI: Mapping[str, StandIn] = {
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


_VARIANTS = {"female": ("f1", "f2", "f3", "f4", "f5"), "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")}


def _stand_ins() -> Iterator[tuple[str, StandIn]]:
    """Every stand-in by its lower-case name. The further vendors' share espeak's variants; steps through pitch and
    liveliness that have no factor in common tell them apart."""
    yield from ((name, replace(how, id=name, name=name.capitalize())) for name, how in _OPENAI.items())
    told = tomllib.loads(files("sayonce.providers").joinpath("espeak_stand_ins.toml").read_text(encoding="utf-8"))
    for gender, vendors in told.items():
        variants = _VARIANTS[gender]
        named = [(voice, name) for voices in vendors.values() for voice, name in voices.items()]
        for n, (voice, name) in enumerate(named):
            variant, pitch, lively = variants[n % len(variants)], 23 + n * 7 % 53, 35 + n * 11 % 45
            yield voice.lower(), StandIn(variant, pitch, lively, gender, voice, name, _language_of(voice))


def _language_of(voice: str) -> str | None:
    """Deepgram's models end in the language that they speak."""
    tag = voice.rpartition("-")[2]
    return tag if len(tag) == 2 and tag != "en" else None


#: Who espeak stands in for, by the lower-case name.
STAND_INS: Mapping[str, StandIn] = dict(_stand_ins())


@dataclass(frozen=True, slots=True, order=True)
class Language:
    """A language that espeak speaks. `file` is what espeak loads it by; its tags are other words for it."""

    file: str
    name: str


#: The model that makes no voice livelier: it sounds as none does, and so is none in a recipe.
PLAIN_MODEL = "tts-1"

#: OpenAI's models, and how much livelier each makes a voice: audibly another, as its recipe is.
MODELS: Mapping[str, int] = {
    "tts-1": 0,
    "tts-1-hd": 12,
    "gpt-4o-mini-tts": 22,
    "gpt-4o-mini-tts-2025-03-20": -12,
    "gpt-4o-mini-tts-2025-12-15": -22,
}


@cache
def languages(data: Path) -> Mapping[str, Language]:
    """espeak's own voices by each of their tags, read from its data files; of two with one tag, the one that claims
    it first."""
    claims = sorted(claim for file in (data / "lang").rglob("*") if file.is_file() for claim in _claims(file, data))
    return {tag: language for _, tag, language in reversed(claims)}


@cache
def variants(data: Path) -> Mapping[str, str]:
    """The variants that may follow a voice's `+`: what espeak calls them, which minds case, by their lower-case
    names."""
    return {file.name.lower(): file.name for file in (data / "voices" / "!v").iterdir()}


def voices(data: Path) -> tuple[Voice, ...]:
    """All voices but the variants, the vendors' first."""
    own = tuple(Voice(tag, language.name, (tag,)) for tag, language in languages(data).items())
    return (
        *(Voice(how.id, how.name, (how.language or DEFAULT_LANGUAGE,), how.gender) for how in STAND_INS.values()),
        *own,
    )


def _claims(file: Path, data: Path) -> Iterator[tuple[int, str, Language]]:
    """Each tag that a file speaks for, with its rank (the lower, the better; 5 where it says none)."""
    lines = [line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    if not _has_words(lines, file, data):
        return
    name = next((" ".join(words[1:]) for words in lines if words[:1] == ["name"]), file.name)
    for words in lines:
        if words[:1] == ["language"]:
            yield int(words[2]) if len(words) > 2 else 5, words[1].lower(), Language(file.name, name)


def _has_words(lines: list[list[str]], file: Path, data: Path) -> bool:
    """Whether its dictionary is there: espeak-ng 1.52 lists languages that it cannot say a word of."""
    named = next((words[1] for words in lines if words[:1] == ["dictionary"]), file.name.partition("-")[0])
    return (data / f"{named}_dict").exists()

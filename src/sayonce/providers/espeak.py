"""The local voice: espeak-ng, in worker processes of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sayonce.errors import (
    InvalidRequest,
    InvalidSettings,
    MissingExtra,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TextTooLong,
    UnknownModel,
    UnknownVoice,
)
from sayonce.piped import Closed, Died, PipedProcess, PipedProcesses, PipeError, Silent
from sayonce.providers import espeak_voices
from sayonce.providers.contract import Provider, SpeechStream, Voice
from sayonce.providers.espeak_marks import Marks
from sayonce.providers.espeak_voices import DEFAULT_LANGUAGE, MODELS, PLAIN_MODEL, STAND_INS
from sayonce.speech.chunks import Chunk, Mark
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.requests import Upstream

_NATIVE = AudioFormat("pcm_s16le", "raw", 22_050)
_WORKER = Path(__file__).with_name("espeak_worker.py")
_LONGEST_TEXT = 100_000
_PATIENCE = 15.0  # seconds without a frame after which a worker counts as hung

# Words a minute at speed 1, and the slowest that espeak-ng 1.52 really speaks (measured; it goes faster than its
# documented 450). Slower speech is made of pauses between words: one unit lengthens each word by as much.
_NORMAL_RATE, _SLOWEST_RATE = 175, 80
_GAP_UNITS = 7.1


class EspeakProvider(Provider):
    """`workers` is how many texts are spoken at a time; further ones wait. Needs the extra `local`."""

    name = "espeak"
    max_characters = _LONGEST_TEXT
    discreet = True
    timed = True
    foreign_to_openai = False
    stands_in = True

    def __init__(self, upstream: Upstream, *, workers: int = 2) -> None:
        self.upstream = upstream
        self._data = _data_path()
        arguments = ("-I", "-S", "-c", _run_with_path(), str(_WORKER))
        self._workers = PipedProcesses(arguments, most=workers, patience=_PATIENCE)

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> EspeakProvider:
        workers = _number(table.get("workers", 2))
        voice, identity = table.get("voice", "alloy"), table.get("identity", cls.name)
        if workers is None or workers < 1 or not (isinstance(voice, str) and isinstance(identity, str) and identity):
            raise InvalidSettings(
                f"The upstream '{name}' needs 'workers' to be a number of at least 1, 'voice' a voice's name and "
                "'identity' a word.",
                remedy=f"Mend it in [upstreams.{name}].",
            )
        if unknown := set(table) - {"workers", "voice", "identity"}:
            raise InvalidSettings(
                f"The upstream '{name}' does not know the setting {', '.join(sorted(unknown))}.",
                remedy="An espeak upstream takes workers, voice and identity.",
            )
        provider = cls(Upstream(name, identity, voice=voice), workers=workers)
        try:
            provider._refuse_unknown(voice.lower())
        except UnknownVoice as error:
            raise InvalidSettings(
                f"The setting 'voice' of the upstream '{name}' is wrong: {error}",
                remedy=f"Mend it in [upstreams.{name}].",
            ) from error
        return provider

    def check(self, recipe: Recipe) -> Recipe:
        self._refuse_out_of_range(recipe)
        plain = recipe.model in (None, PLAIN_MODEL, self.name, self.upstream.name)
        model = None if plain else recipe.model
        if model is not None and model not in MODELS:
            raise UnknownModel(
                "The local voice has no such model.", param="model", remedy=f"Use one of: {', '.join(MODELS)}."
            )
        voice = (recipe.voice or self.upstream.voice or DEFAULT_LANGUAGE).lower()
        if voice in STAND_INS:
            language = self._language(recipe.language or STAND_INS[voice].language)
        else:
            self._refuse_unknown(voice)
            language = None  # the voice speaks its own
        return replace(recipe, model=model, voice=voice, language=language, style=None, instructions=None)

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        return _NATIVE

    @asynccontextmanager
    async def speak(self, recipe: Recipe, native: AudioFormat) -> AsyncIterator[SpeechStream]:
        name = self.upstream.name
        with _translated(name):
            async with self._workers.one() as worker:
                await worker.ask(json.dumps(self._request(recipe)).encode())
                yield SpeechStream(_NATIVE, _Reading(worker, name, recipe.text).chunks())

    async def voices(self) -> Sequence[Voice]:
        return espeak_voices.voices(self._data)

    def has_voice(self, voice: str) -> bool:
        try:
            self._refuse_unknown(voice.lower())
        except UnknownVoice:
            return False
        return True

    def models(self) -> Sequence[str]:
        return tuple(MODELS)

    def price(self, recipe: Recipe) -> float:
        return 0.0

    async def aclose(self) -> None:
        await self._workers.aclose()

    def _refuse_out_of_range(self, recipe: Recipe) -> None:
        if len(recipe.text) > _LONGEST_TEXT:
            raise TextTooLong(
                f"The text has {len(recipe.text)} characters.",
                param="input",
                remedy=f"Send at most {_LONGEST_TEXT} at a time.",
            )
        if not 0.25 <= float(recipe.speed) <= 4:
            raise InvalidRequest("The speed is out of range.", param="speed", remedy="Use 0.25 to 4.")
        if not -12 <= float(recipe.pitch) <= 12:
            raise InvalidRequest("The pitch is out of range.", param="pitch", remedy="Use -12 to 12 semitones.")
        if recipe.options != "{}":
            raise InvalidRequest(
                f"The local voice has no option {', '.join(map(repr, json.loads(recipe.options)))}.",
                param=next(iter(json.loads(recipe.options))),
                remedy="Leave it out.",
            )

    def _request(self, recipe: Recipe) -> dict[str, Any]:
        stand_in = STAND_INS.get(recipe.voice or "")
        if stand_in is None:
            tag, plus, variant = (recipe.voice or DEFAULT_LANGUAGE).partition("+")
            variant = plus + espeak_voices.variants(self._data).get(variant, "")
        else:
            tag, variant = recipe.language or DEFAULT_LANGUAGE, f"+{stand_in.variant}"
        return _request(recipe, espeak_voices.languages(self._data)[tag].file + variant)

    def _language(self, language: str | None) -> str | None:
        tag = (language or DEFAULT_LANGUAGE).lower().replace("_", "-")
        known = espeak_voices.languages(self._data)
        tag = tag if tag in known else tag.partition("-")[0]
        if tag not in known:
            raise InvalidRequest(
                "The local voice does not speak that language.",
                param="language",
                remedy=_near(tag, list(known)) or "'sayonce voices' lists those it speaks.",
            )
        return None if tag == DEFAULT_LANGUAGE else tag

    def _refuse_unknown(self, voice: str) -> None:
        tag, plus, variant = voice.partition("+")
        known = espeak_voices.languages(self._data)
        variants = espeak_voices.variants(self._data)
        if voice not in STAND_INS and (tag not in known or (plus and variant not in variants)):
            near = _near(voice, [*STAND_INS, *known, *(f"{tag}+{name}" for name in variants if tag in known)])
            raise UnknownVoice(
                "The local voice has no voice of that name.",
                param="voice",
                remedy=near or "'sayonce voices' lists them.",
            )


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """What goes wrong with a worker, as the provider's errors."""
    try:
        yield
    except PipeError as error:
        raise _told(error, name) from error


def _told(error: PipeError, name: str) -> ProviderError:
    match error:
        case Silent():
            return ProviderTimeout(
                f"A worker of '{name}' said nothing for {_PATIENCE:g} seconds.",
                provider=name,
                remedy="Another takes its place; try again.",
            )
        case Died():
            return ProviderUnavailable(
                f"A worker of '{name}' died.", provider=name, remedy="Another takes its place; try again."
            )
        case Closed():
            return ProviderUnavailable(f"'{name}' is closed.", provider=name, remedy="Ask again in a moment.")
    return ProviderUnavailable(
        f"No worker of '{name}' could be started: {error}.", provider=name, remedy="Try again."
    )


class _Reading:
    """Reads what a worker says of one text."""

    def __init__(self, worker: PipedProcess, name: str, text: str) -> None:
        self._worker = worker
        self._name = name
        self._told = Marks(text)

    async def chunks(self) -> AsyncIterator[Chunk]:
        held = b""
        marks: tuple[Mark, ...] = ()
        while True:
            with _translated(self._name):
                kind, payload = await self._worker.frame()
            if kind == b"m":
                marks += self._told.read(json.loads(payload))
            elif kind == b"a":
                held += payload
                if self._told.any_word:  # until a word is heard, it may be silence alone
                    yield Chunk(held, marks)
                    held, marks = b"", ()
            else:
                self._worker.done = True
                self._end(kind, payload)
                yield Chunk(held, marks + self._told.rest())
                return

    def _end(self, kind: bytes, payload: bytes) -> None:
        if kind == b"e":
            raise ProviderRefused(f"'{self._name}' refused: {json.loads(payload)}.", provider=self._name)
        if not self._told.any_word:
            raise ProviderRefused(
                "Nothing in the text can be spoken.", provider=self._name, remedy="Send at least one word."
            )
        if self._told.left_out:
            raise ProviderRefused(
                f"'{self._name}' left words of the text out.",
                provider=self._name,
                remedy="Break it into sentences, or leave out long runs of signs.",
            )


def _request(recipe: Recipe, voice: str) -> dict[str, Any]:
    stand_in = STAND_INS.get(recipe.voice or "")
    livelier = MODELS.get(recipe.model or "", 0)
    rate = round(_NORMAL_RATE * float(recipe.speed))
    missing = 1 / float(recipe.speed) - _NORMAL_RATE / _SLOWEST_RATE
    return {
        "text": recipe.text,
        "voice": voice,
        "rate": max(rate, _SLOWEST_RATE),
        "gap": max(round(missing * _GAP_UNITS), 0),
        "pitch": _bounded((50 if stand_in is None else stand_in.pitch) + 4 * float(recipe.pitch)),
        "range": _bounded((50 if stand_in is None else stand_in.range) + livelier),
        "volume": 100,
    }


def _number(value: object) -> int | None:
    """A whole number, which the environment can only give as text."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else None


def _bounded(value: float) -> int:
    return min(max(round(value), 0), 99)


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=5, cutoff=0.5)
    return f"Near it: {', '.join(near)}." if near else ""


def _data_path() -> Path:
    found = find_spec("espeakng_loader")
    if found is None or found.origin is None:
        raise MissingExtra("The local voice", extra="local")
    return Path(found.origin).parent / "espeak-ng-data"


def _run_with_path() -> str:
    """What starts a worker quickly: without `site`, whose work is most of a Python's start, and with the one
    folder on its path that it needs."""
    found = find_spec("espeakng_loader")
    assert found is not None
    assert found.origin is not None
    packages = str(Path(found.origin).parent.parent)
    return f"import sys, runpy; sys.path.append({packages!r}); runpy.run_path(sys.argv[1], run_name='__main__')"

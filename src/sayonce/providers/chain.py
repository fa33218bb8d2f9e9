"""Speaking in another's place: the same request, as the next provider of a chain can say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sayonce.errors import InvalidRequest, ProviderRefused
from sayonce.providers.contract import Provider
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import SpeechRequest

# What a substitute may leave out where it cannot do it: better plain than silent.
_DISPENSABLE: Mapping[str, Any] = {"speed": 1.0, "pitch": 0.0, "style": None, "instructions": None, "language": None}


@dataclass(frozen=True, slots=True)
class Voices:
    """Which voice of one upstream stands for which of another: `{"replicate/af_nicole": {"deepgram": "aura-…"}}`."""

    table: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, upstream: str, voice: str | None, substitute: str) -> str | None:
        """The substitute's voice in place of `upstream`'s; None where none is told."""
        return self.table.get(f"{upstream}/{voice}", {}).get(substitute)


def in_place(request: SpeechRequest, spoken: tuple[Provider, Recipe], substitute: Provider, voices: Voices) -> Recipe:
    """The recipe of `request` at `substitute`, in the place of who was to speak before. The voice is the one that
    stands for that one's, or the same where the substitute has it, else the substitute's own; model and options are
    the former's and left out. ProviderRefused where the substitute cannot say it at all."""
    name = substitute.upstream.name
    request = replace(request, upstream=name, model=None, options={}, voice=_voice(spoken, substitute, voices))
    while True:
        try:
            return substitute.check(recipe_of(request, substitute.upstream))
        except InvalidRequest as error:
            plainer = _without(request, error.param)
            if plainer is None or plainer == request:
                raise ProviderRefused(
                    f"'{name}' cannot say this: {error.message}", provider=name, remedy=error.remedy
                ) from error
            request = plainer


def _voice(spoken: tuple[Provider, Recipe], substitute: Provider, voices: Voices) -> str | None:
    provider, recipe = spoken
    told = voices.of(provider.upstream.name, recipe.voice, substitute.upstream.name)
    if told is not None or recipe.voice is None:
        return told
    same = provider.name == substitute.name or substitute.has_voice(recipe.voice)
    return recipe.voice if same else None


def _without(request: SpeechRequest, param: str | None) -> SpeechRequest | None:
    if param == "voice" and request.voice is not None:
        return replace(request, voice=None)
    if param is not None and param in _DISPENSABLE:
        plain: dict[str, Any] = {param: _DISPENSABLE[param]}
        return replace(request, **plain)
    return None

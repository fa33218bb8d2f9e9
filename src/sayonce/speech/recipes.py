"""What decides how it sounds, and the two hashes that name it.

The recipe hash names what is paid for once; the content hash names it in one format. `docs/hashes.md` works one
out by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sayonce.errors import InvalidRequest
from sayonce.speech import canonical, normaliser
from sayonce.speech.canonical import Json
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope, SpeechRequest, Upstream

_RECIPE = b"sayonce recipe"
_ASSET = b"sayonce asset"


@dataclass(frozen=True)
class Recipe:
    """All that decides how it sounds, and for whom, with every default filled in.

    `upstream` is the upstream's identity, `text` is normalised, `options` are RFC 8785 JSON. The numbers are
    the canonical spellings of speed and pitch. None, and the neutral `1`, `0` and `{}`, mean: not given.
    """

    text: str
    upstream: str
    owner: Owner = Owner()
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    speed: str = "1"
    pitch: str = "0"
    style: str | None = None
    instructions: str | None = None
    options: str = "{}"
    variation: int = 0
    cleaner: str | None = None
    normaliser: str = normaliser.VERSION

    @cached_property
    def hash(self) -> bytes:
        """The recipe hash, 32 bytes."""
        return hashlib.sha256(_RECIPE + canonical.fields(self.fields())).digest()

    def content_hash(self, audio_format: AudioFormat) -> bytes:
        """The name of this recipe's asset in one format, 32 bytes."""
        return content_hash_of(self.hash, audio_format)

    def fields(self) -> Mapping[str, str]:
        """The hash's fields by name, without those that are absent or neutral."""
        scope = self.owner.scope
        named = {
            "cleaner": self.cleaner,
            "instructions": self.instructions,
            "language": self.language,
            "model": self.model,
            "normaliser": self.normaliser,
            "options": None if self.options == "{}" else self.options,
            "pitch": None if self.pitch == "0" else self.pitch,
            "session": self.owner.session if scope is Scope.SESSION else None,
            "speed": None if self.speed == "1" else self.speed,
            "style": self.style,
            "tenant": None if scope is Scope.SHARED else self.owner.tenant,
            "text": self.text,
            "upstream": self.upstream,
            "user": self.owner.user if scope is Scope.USER else None,
            "variation": None if self.variation == 0 else str(self.variation),
            "voice": self.voice,
        }
        return {name: value for name, value in named.items() if value}


def content_hash_of(recipe_hash: bytes, audio_format: AudioFormat) -> bytes:
    """The name of a recipe's asset in one format, 32 bytes."""
    return hashlib.sha256(_ASSET + recipe_hash + str(audio_format).encode()).digest()


def recipe_of(request: SpeechRequest, upstream: Upstream) -> Recipe:
    """The recipe of `request` at `upstream`: normalised, numbers canonical, defaults filled in."""
    _refuse_ownerless(request.owner)
    return Recipe(
        text=normaliser.normalise(request.text),
        upstream=upstream.identity,
        owner=request.owner,
        model=request.model or upstream.model,
        voice=request.voice or upstream.voice,
        language=request.language or upstream.language,
        speed="1" if request.speed == 1 else canonical.number(request.speed, param="speed"),
        pitch="0" if request.pitch == 0 else canonical.number(request.pitch, param="pitch"),
        style=request.style,
        instructions=request.instructions,
        options=_options(request.options),
        variation=request.variation,
        cleaner=request.cleaner,
    )


def _options(options: Mapping[str, Json]) -> str:
    given = {name: value for name, value in options.items() if value is not None}
    return canonical.json(given, param="options") if given else "{}"


def _refuse_ownerless(owner: Owner) -> None:
    if owner.scope is Scope.USER and not owner.user:
        raise _needs("user")
    if owner.scope is Scope.SESSION and not owner.session:
        raise _needs("session")


def _needs(scope: str) -> InvalidRequest:
    return InvalidRequest(
        f"Scope '{scope}' needs to know the {scope}.",
        param=scope,
        remedy=f"Send '{scope}', or the header X-Sayonce-{scope.capitalize()}.",
    )

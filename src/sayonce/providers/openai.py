"""Any number of upstreams of OpenAI's speech dialect: OpenAI itself, Kokoro-FastAPI, Speaches, LocalAI, ….

The wire is OpenAI's `POST /v1/audio/speech` (API reference, 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from sayonce.errors import (
    BrokenAudio,
    InvalidRequest,
    InvalidSettings,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TextTooLong,
    UnknownModel,
    UnknownVoice,
)
from sayonce.providers import http
from sayonce.providers.contract import Provider, SpeechStream, Voice
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.requests import Upstream

OPENAI = "https://api.openai.com/v1"

# Which native format serves best where the wanted one cannot be had: lossless first, and what streams best.
_PREFERRED = ("pcm", "wav", "flac", "mp3", "opus", "aac")
_LONGEST_INSTRUCTIONS = 4096
# What the body says already, or would make the answer something else than audio; no further field may be called so.
_OWN_FIELDS = frozenset(
    ("model", "input", "voice", "response_format", "speed", "instructions", "stream", "stream_format")
)

# USD per million characters, list prices of 2026-11 (platform.openai.com/docs/pricing). gpt-4o-mini-tts is billed
# by the minute, 0.015 USD; at 15 characters a second that is about 16.7 a million.
_PRICES = {"tts-1": 15.0, "tts-1-hd": 30.0, "gpt-4o-mini-tts": 16.7}


class OpenAISettings(BaseModel):
    """One upstream's table in the settings. Empty `models` or `voices`: any is passed on."""

    # An error's own text would show what was given, and so a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str = OPENAI
    api_key: SecretStr | None = None
    identity: str | None = None
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    models: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # further fields of the body that it accepts
    formats: tuple[str, ...] = tuple(BY_NAME)
    price: float | None = Field(default=None, ge=0)  # USD per million characters
    max_characters: int = Field(default=4096, ge=1)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    connect_timeout: float = Field(default=5.0, gt=0)
    first_byte_timeout: float = Field(default=30.0, gt=0)
    connections: int = Field(default=64, ge=1)

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return http.base_url(url)

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        return None if key is None else http.secret(key)

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        return {http.header_name(name): http.secret(value) or SecretStr("") for name, value in headers.items()}

    @field_validator("fields")
    @classmethod
    def _are_further_ones(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if _OWN_FIELDS & set(fields):
            raise ValueError(f"must not be one of the dialect's own: {', '.join(sorted(_OWN_FIELDS))}")
        return fields

    @field_validator("formats")
    @classmethod
    def _are_known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if not formats or set(formats) - set(BY_NAME):
            raise ValueError(f"must be some of {', '.join(BY_NAME)}")
        return formats


def identity_of(base_url: str) -> str:
    """The default identity: the provider and the base URL's host, port and path."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"openai:{parts.hostname}:{port}{parts.path.rstrip('/')}"


class OpenAIProvider(Provider):
    """One upstream of the dialect."""

    name = "openai"

    def __init__(self, name: str, settings: OpenAISettings) -> None:
        self._settings = settings
        self.max_characters = settings.max_characters
        self.upstream = Upstream(
            name,
            settings.identity or identity_of(settings.base_url),
            model=settings.model or _default_model(settings),
            voice=settings.voice or _default_voice(settings),
            language=settings.language,
        )
        self._url = f"{settings.base_url}/audio/speech"
        self._client = http.client(
            http.Limits(
                connect=settings.connect_timeout,
                first_byte=settings.first_byte_timeout,
                connections=settings.connections,
            ),
            _headers(settings),
        )

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> OpenAIProvider:
        try:
            return cls(name, OpenAISettings.model_validate(dict(table)))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            why = wrong["msg"].removeprefix("Value error, ")
            raise InvalidSettings(
                f"The setting '{where}' of the upstream '{name}' is wrong: {why}.",
                remedy=f"Mend it in [upstreams.{name}]; docs/settings.md has them all.",
            ) from error

    def check(self, recipe: Recipe) -> Recipe:
        settings = self._settings
        if len(recipe.text) > settings.max_characters:
            raise TextTooLong(
                f"The text has {len(recipe.text)} characters.",
                param="input",
                remedy=f"'{self.upstream.name}' takes {settings.max_characters}: send it in parts.",
            )
        if settings.models and recipe.model not in settings.models:
            raise UnknownModel(
                f"'{self.upstream.name}' has no such model.",
                param="model",
                remedy=f"Use one of: {', '.join(settings.models)}.",
            )
        self._refuse_voice(recipe.voice)
        self._refuse_what_it_cannot(recipe)
        if recipe.language is None or "language" in settings.fields:
            return recipe
        return replace(recipe, language=None)

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        offered = [BY_NAME[name] for name in self._settings.formats]
        if wanted in offered:
            return wanted
        return next(BY_NAME[name] for name in _PREFERRED if name in self._settings.formats)

    @asynccontextmanager
    async def speak(self, recipe: Recipe, native: AudioFormat) -> AsyncIterator[SpeechStream]:
        name = self.upstream.name
        request = self._client.build_request("POST", self._url, json=self._body(recipe, native))
        async with http.translated(name):
            response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise await self._error(response, recipe)
            http.refuse_text(response, name)
            yield SpeechStream(native, _chunks(response, name))
        finally:
            await response.aclose()

    async def voices(self) -> Sequence[Voice] | None:
        return tuple(Voice(voice, voice) for voice in self._settings.voices) or None

    def models(self) -> Sequence[str]:
        return self._settings.models

    def price(self, recipe: Recipe) -> float | None:
        a_million = self._settings.price
        if a_million is None and self._settings.base_url == OPENAI:
            a_million = _PRICES.get(recipe.model or "")
        return None if a_million is None else a_million * len(recipe.text) / 1_000_000

    async def aclose(self) -> None:
        await self._client.aclose()

    def _refuse_voice(self, voice: str | None) -> None:
        declared = self._settings.voices
        if voice is None:
            raise InvalidRequest("No voice is given.", param="voice", remedy="Send 'voice'.")
        if declared and voice not in declared:
            near = get_close_matches(voice, declared, n=5, cutoff=0.4) or declared[:8]
            raise UnknownVoice(
                f"'{self.upstream.name}' has no voice of that name.",
                param="voice",
                remedy=f"Near it: {', '.join(near)}.",
            )

    def _refuse_what_it_cannot(self, recipe: Recipe) -> None:
        if not 0.25 <= float(recipe.speed) <= 4:
            raise InvalidRequest("The speed is out of range.", param="speed", remedy="Use 0.25 to 4.")
        if recipe.instructions is not None and len(recipe.instructions) > _LONGEST_INSTRUCTIONS:
            raise InvalidRequest(
                "The instructions are too long.",
                param="instructions",
                remedy=f"Send at most {_LONGEST_INSTRUCTIONS} characters.",
            )
        if recipe.pitch == "0" and recipe.style is None and recipe.options == "{}":
            return
        taken = self._settings.fields
        asked = {"pitch": recipe.pitch != "0", "style": recipe.style is not None}
        unknown = [field for field, given in asked.items() if given] + list(json.loads(recipe.options))
        for field in unknown:
            if field not in taken:
                raise InvalidRequest(
                    f"'{self.upstream.name}' takes no field {field!r}.",
                    param=field,
                    remedy=f"Beside OpenAI's own it takes: {', '.join(taken)}." if taken else "Leave it out.",
                )

    def _body(self, recipe: Recipe, native: AudioFormat) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": recipe.model,
            "input": recipe.text,
            "voice": recipe.voice,
            "response_format": next(name for name, known in BY_NAME.items() if known == native),
        }
        if recipe.speed != "1":
            body["speed"] = float(recipe.speed)
        if recipe.instructions is not None:
            body["instructions"] = recipe.instructions
        if recipe.pitch != "0":
            body["pitch"] = float(recipe.pitch)
        further = {"style": recipe.style, "language": recipe.language}
        body |= {field: value for field, value in further.items() if value is not None}
        body |= json.loads(recipe.options)
        return body

    async def _error(self, response: httpx.Response, recipe: Recipe) -> ProviderError:
        async with http.translated(self.upstream.name):
            told = http.told(await http.start_of(response))
        return _translate(self.upstream.name, response, told, recipe.text)


async def _chunks(response: httpx.Response, name: str) -> AsyncIterator[Chunk]:
    empty = True
    async for data in http.body(response, name):
        empty = empty and not data
        yield Chunk(data)
    if empty:
        raise BrokenAudio(f"'{name}' answered with an empty body.", provider=name, remedy="Try again.")


def _translate(name: str, response: httpx.Response, told: Mapping[str, str], text: str) -> ProviderError:
    """An answer that is no success, as our error. `told` is what the upstream says of it."""
    status = response.status_code
    said = _said(name, status, told, text)
    if status in (401, 403):
        return ProviderMisconfigured(
            f"'{name}' does not accept the gateway's key ({status}).", provider=name, remedy="Set its key anew."
        )
    if status == 429 and told.get("code") == "insufficient_quota":
        return ProviderUnavailable(
            f"The account at '{name}' has no quota left.",
            provider=name,
            retryable=False,
            remedy="Top it up there.",
        )
    if status == 429:
        return ProviderRateLimited(
            f"'{name}' asks for fewer requests.",
            provider=name,
            retry_after=http.retry_after(response.headers),
            remedy="Try again later.",
        )
    if status in (408, 504):
        return ProviderTimeout(said, provider=name, remedy="Try again.")
    if status >= 500:
        return ProviderUnavailable(said, provider=name, remedy="Try again.")
    if 300 <= status < 400:
        return ProviderMisconfigured(
            f"'{name}' answers with a redirect.", provider=name, remedy="Set its base URL to where it really is."
        )
    return ProviderRefused(said, provider=name, remedy="Change the request.")


def _said(name: str, status: int, told: Mapping[str, str], text: str) -> str:
    """What it answered, in one sentence: the status, its code or type, and its message."""
    kind = http.unquoted(told.get("code") or told.get("type") or "", text)
    why = http.unquoted(told.get("message", ""), text)
    answered = f"'{name}' answered {status}" + (f" ({kind})" if kind else "") + (f": {why}" if why else "")
    return answered if answered.endswith((".", "!", "?")) else answered + "."


def _default_voice(settings: OpenAISettings) -> str:
    return settings.voices[0] if settings.voices else "alloy"


def _default_model(settings: OpenAISettings) -> str:
    return settings.models[0] if settings.models else "tts-1"


def _headers(settings: OpenAISettings) -> dict[str, str]:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    if settings.api_key is not None:
        headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
    return headers | {"accept": "application/octet-stream", "accept-encoding": "identity"}

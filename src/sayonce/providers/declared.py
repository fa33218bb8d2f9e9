"""Any HTTP speech API, described in settings alone.

    [upstreams.parrot]
    provider = "declared"
    url = "https://api.parrot.example/v2/tts/{voice}"
    headers = {authorization = "Key {api_key}"}
    body = {text = "{text}", settings = {rate = "{speed}"}, format = "{format}"}
    formats = {mp3 = "mp3_44100", wav = "wav"}
    audio = "data.audio"
    audio_encoding = "base64"

Placeholders are put in as data: in a URL escaped, in JSON as values of their own, so no text alters what is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import Field, field_validator, model_validator

from sayonce.errors import InvalidSettings, ProviderMisconfigured
from sayonce.providers import http
from sayonce.providers.contract import SpeechStream
from sayonce.providers.outputs import Source, decoded
from sayonce.providers.templates import Values, filled, in_query, in_url, names_of
from sayonce.providers.vendor import Vendor, VendorSettings, identity_of
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.speech.recipes import Recipe

# What a placeholder may name; `options.x` stands for the option x.
_FIELDS = frozenset(
    ("text", "voice", "model", "language", "speed", "pitch", "style", "instructions", "format", "api_key")
)
_PLACE = re.compile(r"https?://[^/{}?#\s]+(?:[/?]|$)")
_PREFERRED = ("wav", "flac", "pcm", "mp3", "opus", "aac")
_LONGEST_ANSWER = 100_000_000


class DeclaredSettings(VendorSettings):
    """Beside what all vendors have: how to ask, and where the audio is in the answer. `url` takes the place of
    `base_url`, which follows from it."""

    base_url: str = ""
    url: str = ""
    method: Literal["POST", "GET", "PUT"] = "POST"
    query: Mapping[str, str] = Field(default_factory=dict)
    body: Any = None  # sent as JSON
    form: Mapping[str, str] | None = None  # sent as a form
    raw: str | None = None  # sent as plain text
    audio: str = "body"  # or a path into the JSON of the answer: data.audio, output.0
    audio_encoding: Literal["base64", "hex", "url"] = "base64"
    output_hosts: tuple[str, ...] = ()
    formats: Mapping[str, str] = Field(default_factory=lambda: {"mp3": "mp3"})
    options: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    min_speed: Annotated[float, Field(gt=0)] = 1.0
    max_speed: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return url if url == "" else http.base_url(url)

    @field_validator("formats")
    @classmethod
    def _are_known(cls, formats: Mapping[str, str]) -> Mapping[str, str]:
        if not formats or set(formats) - set(BY_NAME):
            raise ValueError(f"must name some of {', '.join(BY_NAME)}")
        return formats

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.url:
            if not _PLACE.match(self.url):
                raise ValueError("needs a url that is http or https and names its host without a placeholder")
            http.base_url(in_url(self.url, dict.fromkeys(names_of(self.url), "x")).partition("?")[0])
        known = _FIELDS | {f"options.{name}" for name in self.options}
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        for template in (self.url, dict(self.query), self.body, dict(self.form or {}), self.raw or "", headers):
            if unknown := names_of(template) - known:
                raise ValueError(f"has a placeholder that there is not: {{{min(unknown)}}}")
        if sum(part is not None for part in (self.body, self.form, self.raw)) > 1:
            raise ValueError("has more than one of body, form and raw")
        return self


class DeclaredProvider(Vendor[DeclaredSettings]):
    """One upstream of such an API."""

    name = "declared"
    settings_model = DeclaredSettings
    foreign_to_openai = False

    def __init__(self, name: str, settings: DeclaredSettings) -> None:
        base = _base_of(settings.url) if settings.url else f"http://{self.name}.invalid"
        told = {header: value for header, value in settings.headers.items() if names_of(value.get_secret_value())}
        plain = {header: value for header, value in settings.headers.items() if header not in told}
        identity = settings.identity or f"{identity_of(self.name, base)}#{_described(settings)}"
        super().__init__(
            name,
            settings.model_copy(update={"base_url": base, "headers": plain, "identity": identity}),
            model=next(iter(settings.models), None),
        )
        self._templates = told
        self._source = Source(name, base, settings.output_hosts)
        limits = http.Limits(settings.connect_timeout, settings.first_byte_timeout, settings.connections)
        self._elsewhere = http.client(limits, {"accept-encoding": "identity"})  # without the key

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Self:
        made = super().from_settings(name, table)
        if not made.settings.url and cls is DeclaredProvider:
            raise InvalidSettings(f"The upstream '{name}' has no url.", remedy=f"Set url in [upstreams.{name}].")
        return made

    def _headers(self) -> dict[str, str]:
        return {}

    def check(self, recipe: Recipe) -> Recipe:
        self._refuse_unset()
        self._refuse_long(recipe.text)
        if self.settings.voices or self._takes("voice"):
            self._refuse_voice(recipe.voice)
        self._refuse_further(recipe, tuple(name for name in _FURTHER if self._takes(name)) + self.settings.options)
        if recipe.speed != "1":
            self._refuse_speed(recipe.speed, self.settings.min_speed, self.settings.max_speed)
        return replace(
            recipe,
            model=recipe.model if self._takes("model") else None,
            language=recipe.language if self._takes("language") else None,
        )

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        offered = [BY_NAME[name] for name in self.settings.formats]
        if wanted in offered:
            return wanted
        return next(BY_NAME[name] for name in _PREFERRED if name in self.settings.formats)

    @asynccontextmanager
    async def speak(self, recipe: Recipe, native: AudioFormat) -> AsyncIterator[SpeechStream]:
        async with self._asked(self._request(recipe, native), recipe) as response:
            if self.settings.audio == "body":
                http.refuse_text(response, self.upstream.name)
                yield SpeechStream(native, self._chunks(response))
                return
            found = await self._found(response)
            if self.settings.audio_encoding == "url":
                client = self._client if self._source.is_own(found) else self._elsewhere
                async with self._source.fetched(client, found) as chunks:
                    yield SpeechStream(native, chunks)
            else:
                yield SpeechStream(native, _once(self._decoded(found)))

    def models(self) -> Sequence[str]:
        return self.settings.models

    def price(self, recipe: Recipe) -> float | None:
        return self._price(recipe, None)

    async def reach(self) -> float | None:
        self._refuse_unset()
        # Of an API that is described by whoever uses it, any request might be one to speak.
        await http.connected(self.settings.base_url, self.settings.connect_timeout, self.upstream.name)
        return None

    async def aclose(self) -> None:
        await self._elsewhere.aclose()
        await super().aclose()

    # ── on the wire ──────────────────────────────────────────────────────────────────────────────

    def _request(self, recipe: Recipe, native: AudioFormat) -> httpx.Request:
        settings, values = self.settings, self._values(recipe, native)
        headers = {name: str(filled(value.get_secret_value(), values)) for name, value in self._templates.items()}
        sent: dict[str, Any] = {}
        if settings.body is not None:
            sent["json"] = filled(settings.body, values)
        elif settings.form is not None:
            sent["data"] = in_query(settings.form, values)
        elif settings.raw is not None:
            sent["content"] = str(filled(settings.raw, values)).encode()
            headers = {"content-type": "text/plain; charset=utf-8"} | headers
        url = httpx.URL(in_url(settings.url, values)).copy_merge_params(in_query(settings.query, values))
        return self._client.build_request(settings.method, url, headers=headers, **sent)

    def _values(self, recipe: Recipe, native: AudioFormat) -> Values:
        ours = next(name for name, known in BY_NAME.items() if known == native)
        key = self.settings.api_key
        values: dict[str, Any] = {
            "text": recipe.text,
            "voice": recipe.voice,
            "model": recipe.model,
            "language": recipe.language,
            "speed": None if recipe.speed == "1" else float(recipe.speed),
            "pitch": None if recipe.pitch == "0" else float(recipe.pitch),
            "style": recipe.style,
            "instructions": recipe.instructions,
            "format": self.settings.formats[ours],
            "api_key": None if key is None else key.get_secret_value(),
        }
        values |= {f"options.{name}": value for name, value in json.loads(recipe.options).items()}
        return {name: value for name, value in values.items() if value is not None}

    async def _found(self, response: httpx.Response) -> str:
        """What the answer's JSON has where the audio should be."""
        async with http.translated(self.upstream.name):
            raw = await http.start_of(response, _LONGEST_ANSWER)
        try:
            found = json.loads(raw)
            for step in self.settings.audio.split("."):
                found = found[int(step)] if isinstance(found, list) else found[step]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise self._broken("answered without audio where it should be") from error
        if not isinstance(found, str) or not found:
            raise self._broken("answered without audio where it should be")
        return found

    def _decoded(self, found: str) -> bytes:
        if self.settings.audio_encoding == "base64":
            return decoded(found, self.upstream.name)
        try:
            return bytes.fromhex(found)
        except ValueError as error:
            raise self._broken("sent something that is not hexadecimal") from error

    def _takes(self, name: str) -> bool:
        settings = self.settings
        headers = {header: value.get_secret_value() for header, value in self._templates.items()}
        body = (settings.body, dict(settings.form or {}), settings.raw or "")
        return any(name in names_of(template) for template in (settings.url, dict(settings.query), headers, *body))

    def _refuse_unset(self) -> None:
        """An upstream that somebody has yet to describe."""


class WisprProvider(DeclaredProvider):
    """An example with a name: no public text-to-speech API of Wispr's is known (2026-11), so it needs an endpoint."""

    name = "wispr"

    def _refuse_unset(self) -> None:
        if not self.settings.url:
            raise no_endpoint(self.upstream.name)


def no_endpoint(name: str) -> ProviderMisconfigured:
    """What is said of Wispr as long as nobody tells where to ask."""
    return ProviderMisconfigured(
        f"'{name}' needs an endpoint: no public text-to-speech API of Wispr's is known.",
        provider=name,
        remedy=f"Set url and what it asks for in [upstreams.{name}].",
    )


_FURTHER = ("pitch", "style", "instructions")


def _described(settings: DeclaredSettings) -> str:
    """A digest of all that decides what is asked, since another request is another sound."""
    asked = settings.model_dump(
        mode="json", include={"url", "method", "query", "body", "form", "raw", "audio", "formats"}
    )
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _base_of(url: str) -> str:
    """The part of a URL that no placeholder alters: where it is, up to the first that names one."""
    plain = url.partition("?")[0].partition("{")[0]
    return plain.rstrip("/") if plain.count("/") > 2 else url.partition("{")[0].rstrip("/")


async def _once(data: bytes) -> AsyncIterator[Chunk]:
    yield Chunk(data)

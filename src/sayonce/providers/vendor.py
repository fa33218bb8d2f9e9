"""What all vendors over HTTP have in common: their settings' base, one pooled client each, as many requests at a time
as their key allows, and one table from what they answer to our errors."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, Self, TypeVar
from urllib.parse import urlsplit

import anyio
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
    UnknownVoice,
)
from sayonce.providers import http
from sayonce.providers.contract import Provider, SpeechStream, Voice
from sayonce.providers.prices import list_price
from sayonce.speech.canonical import Json
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.requests import Upstream

_LONGEST_LIST = 4_000_000


class VendorSettings(BaseModel):
    """One upstream's table in the settings. Empty `voices`: any is passed on."""

    #: What people write at the end of the base URL, though the adapter's own paths begin with it.
    ending: ClassVar[str] = ""

    # An error's own text would show what was given, and so a key.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str
    api_key: SecretStr | None = None
    identity: str | None = None
    model: str | None = None
    voice: str | None = None
    language: str | None = None
    voices: tuple[str, ...] = ()
    price: float | None = Field(default=None, ge=0)  # USD per million characters
    max_characters: int = Field(default=4096, ge=1)
    headers: Mapping[str, SecretStr] = Field(default_factory=dict)
    connect_timeout: float = Field(default=5.0, gt=0)
    first_byte_timeout: float = Field(default=30.0, gt=0)
    connections: int = Field(default=64, ge=1)
    concurrency: int | None = Field(default=None, ge=1)  # requests at a time; further ones wait for their turn

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return http.base_url(url).removesuffix(cls.ending)

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        return None if key is None else http.secret(key)

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        return {http.header_name(name): http.secret(value) or SecretStr("") for name, value in headers.items()}

    @property
    def at_home(self) -> bool:
        """Whether it is at the vendor's own address."""
        return bool(self.base_url == type(self).model_fields["base_url"].default)

    def authorization(self, name: str, scheme: str = "") -> dict[str, str]:
        """The header that carries the key, where there is one."""
        key = self.api_key
        return {} if key is None else {name: f"{scheme} {key.get_secret_value()}".strip()}


S = TypeVar("S", bound=VendorSettings)


class Vendor(Provider, Generic[S]):
    """One upstream over HTTP."""

    #: The model of its table in the settings.
    settings_model: ClassVar[type[VendorSettings]]

    #: What its errors call an account that has nothing left; more tries do not help before somebody pays.
    no_quota: ClassVar[frozenset[str]] = frozenset(("insufficient_quota", "quota_exceeded"))

    def __init__(self, name: str, settings: S, *, voice: str | None = None, model: str | None = None) -> None:
        """`voice` and `model` are what a request that names none is given, unless the settings tell others: their
        `voice` and `model`, or the first of their `voices`."""
        self.settings = settings
        self.max_characters = settings.max_characters
        self.upstream = Upstream(
            name,
            settings.identity or identity_of(self.name, settings.base_url),
            model=settings.model or model,
            voice=settings.voice or next(iter(settings.voices), voice),
            language=settings.language,
        )
        limits = http.Limits(
            connect=settings.connect_timeout,
            first_byte=settings.first_byte_timeout,
            connections=settings.connections,
        )
        plain = {header: value.get_secret_value() for header, value in settings.headers.items()}
        self._client = http.client(limits, plain | self._headers() | {"accept-encoding": "identity"})
        self._turns = None if settings.concurrency is None else anyio.CapacityLimiter(settings.concurrency)
        self._listed: tuple[Voice, ...] | None = None

    @classmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Self:
        try:
            settings = cls.settings_model.model_validate(dict(table))
        except ValidationError as error:
            wrong = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in wrong["loc"])
            why = wrong["msg"].removeprefix("Value error, ")
            raise InvalidSettings(
                f"The setting '{where}' of the upstream '{name}' is wrong: {why}.",
                remedy=f"Mend it in [upstreams.{name}]; docs/settings.md has them all.",
            ) from error
        return cls(name, settings)  # type: ignore[arg-type]

    @abstractmethod
    def _headers(self) -> dict[str, str]:
        """What every request carries, the key above all."""

    async def voices(self) -> Sequence[Voice] | None:
        return tuple(Voice(voice, voice) for voice in self.settings.voices) or None

    def has_voice(self, voice: str) -> bool:
        return voice in self.settings.voices

    def models(self) -> Sequence[str]:
        return ()

    async def reach(self) -> float | None:
        settings = self.settings
        return await http.greeted(settings.base_url, settings.connect_timeout, self.upstream.name)

    async def aclose(self) -> None:
        await self._client.aclose()

    # ── beforehand ───────────────────────────────────────────────────────────────────────────────

    def _price(self, recipe: Recipe, model: str | None) -> float | None:
        """What a text costs: by the settings, else, at the vendor's own address, by the list price of `model`."""
        a_million = self.settings.price
        if a_million is None and self.settings.at_home:
            a_million = list_price(self.name, model)
        return None if a_million is None else a_million * len(recipe.text) / 1_000_000

    def _refuse_long(self, text: str) -> None:
        most = self.settings.max_characters
        if len(text) > most:
            raise TextTooLong(
                f"The text has {len(text)} characters.",
                param="input",
                remedy=f"'{self.upstream.name}' takes {most}: send it in parts.",
            )

    def _refuse_voice(self, voice: str | None) -> None:
        declared = self.settings.voices
        if voice is None:
            raise InvalidRequest("No voice is given.", param="voice", remedy="Send 'voice'.")
        if declared and voice not in declared:
            near = get_close_matches(voice, declared, n=5, cutoff=0.4) or declared[:8]
            raise UnknownVoice(
                f"'{self.upstream.name}' has no voice of that name.",
                param="voice",
                remedy=f"Near it: {', '.join(near)}.",
            )

    def _refuse_speed(self, speed: str, slowest: float, fastest: float) -> None:
        if not slowest <= float(speed) <= fastest:
            raise InvalidRequest(
                "The speed is out of range.", param="speed", remedy=f"Use {slowest:g} to {fastest:g}."
            )

    def _refuse_further(self, recipe: Recipe, taken: Sequence[str] = ()) -> None:
        """InvalidRequest for the first of the fields that not all vendors have, options among them, that is given
        and not taken."""
        if recipe.pitch == "0" and recipe.style is recipe.instructions is None and recipe.options == "{}":
            return
        given = {
            "pitch": recipe.pitch != "0",
            "style": recipe.style is not None,
            "instructions": recipe.instructions is not None,
            **dict.fromkeys(json.loads(recipe.options), True),
        }
        for field, there in given.items():
            if there and field not in taken:
                raise InvalidRequest(
                    f"'{self.upstream.name}' takes no field {field!r}.",
                    param=field,
                    remedy=f"It takes: {', '.join(taken)}." if taken else "Leave it out.",
                )

    # ── on the wire ──────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _spoken(
        self, request: httpx.Request, recipe: Recipe, native: AudioFormat
    ) -> AsyncIterator[SpeechStream]:
        """What a request brings whose answer is the audio and nothing else."""
        async with self._asked(request, recipe) as response:
            http.refuse_text(response, self.upstream.name)
            yield SpeechStream(native, self._chunks(response))

    async def _list(self, url: str, read: Callable[[Any], Iterable[Voice]]) -> tuple[Voice, ...]:
        """The voices that the vendor lists there, asked for once; `read` finds them in its JSON."""
        if self._listed is None:
            request = self._client.build_request("GET", url)
            async with self._asked(request) as response, http.translated(self.upstream.name):
                raw = await http.start_of(response, _LONGEST_LIST)
            try:
                self._listed = tuple(read(json.loads(raw)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise self._broken("answered with something that is no list of voices") from error
        return self._listed

    @asynccontextmanager
    async def _asked(self, request: httpx.Request, recipe: Recipe | None = None) -> AsyncIterator[httpx.Response]:
        """As `_answered`, when it is this request's turn."""
        async with self._turn(), self._answered(request, recipe) as response:
            yield response

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the requests at a time that the key allows; further ones wait."""
        turns, turn = self._turns, object()
        if turns is None:  # even a free turn takes a round of the event loop, which a miss would wait for
            yield
            return
        await turns.acquire_on_behalf_of(turn)
        try:
            yield
        finally:
            turns.release_on_behalf_of(turn)

    @asynccontextmanager
    async def _answered(self, request: httpx.Request, recipe: Recipe | None = None) -> AsyncIterator[httpx.Response]:
        """The answer to a request, when it is a success and no text; its body is yet to come. Whatever else was
        answered is a ProviderError."""
        async with http.translated(self.upstream.name):
            response = await self._client.send(request, stream=True)
        try:
            if not response.is_success:
                raise await self._error(response, recipe)
            yield response
        finally:
            await response.aclose()

    async def _error(self, response: httpx.Response, recipe: Recipe | None) -> ProviderError:
        async with http.translated(self.upstream.name):
            told = self._understood(await http.start_of(response))
        if self.no_quota & {told.get("code"), told.get("type")} or response.status_code == 402:
            return _no_quota(self.upstream.name)
        return translate(self.upstream.name, response, told, "" if recipe is None else _words_of(recipe))

    def _told(self, raw: bytes) -> Mapping[str, Any]:
        """What an error's body says: its `code` and its `message`. It may raise where the body is of another kind."""
        return http.told(raw)

    def _understood(self, raw: bytes) -> Mapping[str, str]:
        try:
            return {word: str(said) for word, said in self._told(raw).items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return http.told(raw)  # what answers is not always the vendor: a proxy's error page, say

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[Chunk]:
        """The body as it comes; BrokenAudio where there is none."""
        empty = True
        async for data in http.body(response, self.upstream.name):
            empty = empty and not data
            yield Chunk(data)
        if empty:
            raise self._broken("answered with an empty body")

    def _broken(self, what: str) -> BrokenAudio:
        name = self.upstream.name
        return BrokenAudio(f"'{name}' {what}.", provider=name, remedy="Try again.")


def _words_of(recipe: Recipe) -> str:
    """All that a caller wrote, none of which belongs in an error."""
    written = (recipe.text, recipe.instructions or "", recipe.style or "")
    return "\n".join((*written, *_strings(json.loads(recipe.options))))


def _strings(value: Json) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)


def identity_of(provider: str, base_url: str) -> str:
    """The default identity: the provider and the base URL's host, port and path."""
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{provider}:{parts.hostname}:{port}{parts.path.rstrip('/')}"


def translate(name: str, response: httpx.Response, told: Mapping[str, str], text: str) -> ProviderError:
    """An answer that is no success, as our error. `told` is what the upstream says of it."""
    status = response.status_code
    said = _said(name, status, told, text)
    again: dict[str, Any] = {"provider": name, "remedy": "Try again."}
    if status in (401, 403):
        return ProviderMisconfigured(
            f"'{name}' does not accept the gateway's key ({status}).", provider=name, remedy="Set its key anew."
        )
    if status == 429:
        return ProviderRateLimited(
            f"'{name}' asks for fewer requests.",
            provider=name,
            retry_after=http.retry_after(response.headers),
            remedy="Try again later.",
        )
    if status in (408, 504):
        return ProviderTimeout(said, **again)
    if status >= 500:
        return ProviderUnavailable(said, **again)
    if 300 <= status < 400:
        return ProviderMisconfigured(
            f"'{name}' answers with a redirect.", provider=name, remedy="Set its base URL to where it really is."
        )
    return ProviderRefused(said, provider=name, remedy="Change the request.")


def _no_quota(name: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The account at '{name}' has no quota left.", provider=name, retryable=False, remedy="Top it up there."
    )


def _said(name: str, status: int, told: Mapping[str, str], text: str) -> str:
    """What it answered, in one sentence: the status, its code or type, and its message."""
    kind = http.unquoted(told.get("code") or told.get("type") or "", text)
    why = http.unquoted(told.get("message", ""), text)
    answered = f"'{name}' answered {status}" + (f" ({kind})" if kind else "") + (f": {why}" if why else "")
    return answered if answered.endswith((".", "!", "?")) else answered + "."

"""Who speaks: finds the upstream of a request, and those that speak in its place, and makes orders of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from sayonce.cache.orders import Chain, Link, Order, Retention, Steering
from sayonce.errors import (
    InvalidRequest,
    MissingExtra,
    ProviderError,
    ProviderMisconfigured,
    ProviderRefused,
    TextTooLong,
    UnknownModel,
    UnknownVoice,
)
from sayonce.providers.breaker import Breaker
from sayonce.providers.chain import Voices, in_place
from sayonce.providers.contract import Provider
from sayonce.providers.registry import is_known
from sayonce.speech.cleaning import RULES, Cleaner, clean
from sayonce.speech.dialects import OPENAI_MODELS, OPENAI_VOICES
from sayonce.speech.normaliser import normalise
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import SpeechRequest

# Why an upstream that there could be is not there.
Missing: TypeAlias = MissingExtra | ProviderMisconfigured


class Cleaning(StrEnum):
    """How a text is cleaned before it is spoken."""

    OFF = "off"
    RULES = "rules"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Customs:
    """What holds where a request says nothing. `chain` names who speaks, and who in whose place. What is said must
    begin within `patience` seconds."""

    chain: tuple[str, ...]
    voices: Voices = field(default_factory=Voices)
    keep: Retention = Retention()
    patience: float = 60.0
    cleaner: Cleaner | None = None
    usd_rate: float = 1.0


class Cast:
    """The upstreams by name, each with its breaker. `missing` are those that need something that is not
    installed, or set."""

    def __init__(
        self,
        upstreams: Mapping[str, Provider],
        customs: Customs,
        breakers: Mapping[str, Breaker],
        missing: Mapping[str, Missing] = MappingProxyType({}),
    ) -> None:
        self.upstreams = upstreams
        self.breakers = breakers
        self._customs = customs
        self._missing = missing

    @property
    def default(self) -> str:
        """Who speaks where a request names nobody."""
        return self._customs.chain[0]

    def chain(
        self, request: SpeechRequest, steering: Steering, names: Sequence[str] = (), *, dialect: str | None = None
    ) -> Chain:
        """The orders of a request: of the upstream that it names, then of those that come after it in the chain, be
        that `names` or the usual one. InvalidRequest and its kin where it is known beforehand that the first cannot
        speak it; only where it is not there, or the text is too long for it, does the next come first. `dialect` is
        the vendor whose voices and models the request means."""
        told = self._existing(names)
        names = told or self._customs.chain
        request = self.addressed(request, names[0]) if dialect is None else self._meant(request, told, dialect)
        name = request.upstream or names[0]
        others = names[names.index(name) + 1 :] if name in names else ()
        try:
            provider = self._provider(name)
            first = self._order(request, provider, self._recipe(request, provider), steering)
        except (TextTooLong, MissingExtra, ProviderMisconfigured):
            if not others:
                raise
            return self.chain(_passed_on(request, others[0]), steering, others)
        length = (1 + len(others)) * (1 if first.cleaner is None else 2)
        return Chain(first, lambda: self._others(request, first, others), length, self._customs.patience)

    def cleaned(self, request: SpeechRequest, how: Cleaning) -> SpeechRequest:
        """The request as it is to be cleaned: its text by the rules now, or raw for the cleaner to clean when it
        comes to be spoken. InvalidRequest where no cleaner is set up."""
        match how:
            case Cleaning.OFF:
                return request
            case Cleaning.RULES:
                return replace(request, text=clean(request.text), cleaner=RULES)
            case Cleaning.CHAT if self._customs.cleaner is not None:
                return replace(request, cleaner=self._customs.cleaner.name)
            case _:
                raise InvalidRequest(
                    "No cleaner is set up.", param="cleaning", remedy="Set [cleaner], or use 'rules'."
                )

    def upstream(self, name: str) -> Provider:
        """The upstream of a name. InvalidRequest where there is no such, else why it is not there."""
        self._existing([name])
        return self._provider(name)

    def speaks(self, dialect: str, names: Sequence[str] = ()) -> Provider:
        """Who answers to a vendor's dialect: the first of that vendor's, or else the first of the chain; of `names`
        where a request tells some."""
        usual = self._customs.chain
        own = (name for name in names or (*usual, *self.upstreams) if self._kind(name) == dialect)
        return self._provider(next(own, (names or usual)[0]))

    def addressed(self, request: SpeechRequest, default: str = "") -> SpeechRequest:
        """The request with the upstream's name where it belongs, which callers also put before a voice or a model
        (`espeak/en-us`), or in a model's place."""
        if request.upstream is not None:
            return self._known(
                replace(request, voice=(request.voice or "").removeprefix(f"{request.upstream}/") or None)
            )
        if request.voice is not None and "/" in request.voice:
            name, _, voice = request.voice.partition("/")
            if name in self.upstreams:
                request = replace(request, upstream=name, voice=voice or None)
        if request.model is not None and request.model != (default or self.default):
            name, _, model = request.model.partition("/")
            if name in self.upstreams and request.upstream in (None, name):
                return replace(request, upstream=name, model=model or None)
        return request if request.upstream else self._by_model(request, default or self.default)

    def _others(self, request: SpeechRequest, first: Order, names: Sequence[str]) -> Iterator[Link]:
        """Who speaks in the first one's place, each as it can: made only when it comes to that. Where a cleaner was
        to clean, each also as the rules do."""
        spoken = (first.provider, first.recipe)
        if first.cleaner is not None:
            yield self._by_rules(request, first)
        for name in names:
            try:
                provider = self._provider(name)
                recipe = in_place(request, spoken, provider, self._customs.voices)
                if request.discreet and not provider.discreet:
                    continue
            except ProviderError as error:
                yield error
                continue
            except MissingExtra as error:
                yield ProviderMisconfigured(error.message, provider=name, remedy=error.remedy)
                continue
            spoken = (provider, recipe)
            order = self._order(request, provider, recipe, first.steering)
            yield order
            if order.cleaner is not None:
                yield self._by_rules(request, order)

    def _kind(self, name: str) -> str | None:
        return self.upstreams[name].name if name in self.upstreams else None

    def _meant(self, request: SpeechRequest, names: Sequence[str], dialect: str) -> SpeechRequest:
        """The request as who answers to the dialect takes it: another vendor gets the voice that stands for that
        one, and neither model nor options."""
        first = (names or self._customs.chain)[0]
        mapped = self._customs.voices.of(dialect, request.voice, first)
        provider = self._provider(first) if mapped else self.speaks(dialect, names)
        name = provider.upstream.name
        if provider.name == dialect:
            return replace(request, upstream=name)
        voice = self._standing_for(request.voice, dialect, provider)
        return replace(request, upstream=name, voice=voice, model=None, options={})

    def _standing_for(self, voice: str | None, dialect: str, provider: Provider) -> str | None:
        """The provider's voice that stands for one of a vendor's."""
        name = provider.upstream.name
        mapped = self._customs.voices.of(dialect, voice, name)
        if mapped or voice is None or provider.has_voice(voice):
            return mapped or voice
        raise UnknownVoice(
            f"'{name}' has no voice that stands for this one.",
            param="voice",
            remedy=f'Name one in the settings: [voices."{dialect}/<voice>"] {name} = "…"',
        )

    def _recipe(self, request: SpeechRequest, provider: Provider) -> Recipe:
        if request.discreet and not provider.discreet:
            raise InvalidRequest(
                f"'{provider.upstream.name}' may keep what it is sent.",
                param="privacy",
                remedy="Set enable_logging = false (ElevenLabs) or mip_opt_out = true (Deepgram) for it.",
            )
        try:
            return provider.check(recipe_of(request, provider.upstream))
        except (UnknownVoice, UnknownModel) as error:
            unset = self._unset(request, error)
            if unset is None:
                raise
            raise unset from error

    def _unset(self, request: SpeechRequest, error: UnknownVoice | UnknownModel) -> InvalidRequest | None:
        """What is said of a voice or a model that nobody has, where the name before it is that of a provider whom no
        upstream is: it is he who was meant."""
        told = request.voice if isinstance(error, UnknownVoice) else request.model
        name, slash, _ = (told or "").partition("/")
        if not slash or request.upstream is not None or name in self.upstreams or not is_known(name):
            return None
        unset = self._missing.get(name)
        return type(error)(
            f"There is no upstream '{name}' set up.",
            param=error.param,
            remedy=f"{self._there()} {f'Add [upstreams.{name}].' if unset is None else unset.remedy}",
        )

    def _order(self, request: SpeechRequest, provider: Provider, recipe: Recipe, steering: Steering) -> Order:
        breaker = self.breakers[provider.upstream.name]
        cleaner = self._customs.cleaner
        chosen = cleaner if cleaner is not None and request.cleaner == cleaner.name else None
        return Order(
            provider=provider,
            recipe=recipe,
            format=request.format,
            breaker=breaker,
            steering=steering,
            keep=steering.keep or self._customs.keep,
            cleaner=chosen,
            usd_rate=self._customs.usd_rate,
        )

    def _by_rules(self, request: SpeechRequest, order: Order) -> Link:
        """The same, cleaned by the rules."""
        name = order.provider.upstream.name
        try:
            text = normalise(clean(request.text))
            recipe = order.provider.check(replace(order.recipe, text=text, cleaner=RULES))
        except InvalidRequest as error:
            return ProviderRefused(f"'{name}' cannot say this: {error.message}", provider=name, remedy=error.remedy)
        return replace(order, recipe=recipe, cleaner=None)

    def _existing(self, names: Sequence[str]) -> tuple[str, ...]:
        for name in names:
            if name not in self.upstreams and name not in self._missing:
                raise self._no_such("chain")
        return tuple(dict.fromkeys(names))

    def _provider(self, name: str) -> Provider:
        if name in self._missing:
            raise self._missing[name].with_traceback(None)  # one error for all requests, which must not grow
        return self.upstreams[name]

    def _by_model(self, request: SpeechRequest, default: str) -> SpeechRequest:
        """The only upstream that declares the model speaks, where the default one is known not to have it; where
        nobody does and it is OpenAI's, it was named since it must be."""
        provider = self.upstreams.get(default)
        if request.model is None or provider is None or request.model in provider.models():
            return request
        others = [
            name for name, each in self.upstreams.items() if request.model in each.models() and not each.stands_in
        ]
        if len(others) == 1 and (provider.models() or provider.foreign_to_openai):
            return replace(request, upstream=others[0])
        if provider.foreign_to_openai and request.model in OPENAI_MODELS:
            return self._in_its_own_words(request, provider)
        return request

    def _in_its_own_words(self, request: SpeechRequest, provider: Provider) -> SpeechRequest:
        """The request of a client of OpenAI's as another vendor takes it."""
        theirs = request.voice in OPENAI_VOICES
        voice = self._standing_for(request.voice, "openai", provider) if theirs else request.voice
        return replace(request, voice=voice, model=None)

    def _known(self, request: SpeechRequest) -> SpeechRequest:
        if request.upstream in self.upstreams or request.upstream in self._missing:
            return request
        raise self._no_such("upstream")

    def _no_such(self, param: str) -> InvalidRequest:
        return InvalidRequest("There is no such upstream.", param=param, remedy=self._there())

    def _there(self) -> str:
        return f"There are: {', '.join(sorted(self.upstreams))}."


def _passed_on(request: SpeechRequest, upstream: str) -> SpeechRequest:
    """The request as the next one of a chain gets it where the first was never to speak it."""
    return replace(request, upstream=upstream, model=None, voice=None, options={})

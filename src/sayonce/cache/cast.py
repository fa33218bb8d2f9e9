"""Who speaks: finds the upstream of a request and makes an order of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sayonce.cache.orders import Order, Steering
from sayonce.errors import InvalidRequest, MissingExtra
from sayonce.providers.contract import Provider
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest


class Cast:
    """The upstreams by name, the one that speaks where a request names none, and for how long what is said is kept
    (in seconds; None is forever). `missing` are upstreams that need something that is not installed."""

    def __init__(
        self,
        upstreams: Mapping[str, Provider],
        default: str,
        keep: float | None,
        missing: Mapping[str, MissingExtra] = MappingProxyType({}),
    ) -> None:
        self.upstreams = upstreams
        self.default = default
        self._keep = keep
        self._missing = missing

    def order(self, request: SpeechRequest, steering: Steering) -> Order:
        """The order of a request. InvalidRequest and its kin where it is known beforehand that it cannot be
        spoken."""
        request = self.addressed(request)
        provider = self._provider(request.upstream or self.default)
        recipe = provider.check(recipe_of(request, provider.upstream))
        return Order(provider, recipe, request.format, steering, self._keep)

    def addressed(self, request: SpeechRequest) -> SpeechRequest:
        """The request with the upstream's name where it belongs, which callers also put before a voice or a model
        (`espeak/en-us`), or in a model's place."""
        if request.upstream is not None:
            return self._known(request)
        if request.voice is not None and "/" in request.voice:
            name, _, voice = request.voice.partition("/")
            if name in self.upstreams:
                request = replace(request, upstream=name, voice=voice or None)
        if request.model is not None and request.model != self.default:
            name, _, model = request.model.partition("/")
            if name in self.upstreams and request.upstream in (None, name):
                return replace(request, upstream=name, model=model or None)
        return request if request.upstream else self._by_model(request)

    def _provider(self, name: str) -> Provider:
        if name in self._missing:
            raise self._missing[name]
        return self.upstreams[name]

    def _by_model(self, request: SpeechRequest) -> SpeechRequest:
        """The only upstream that declares the model speaks, where the default one is known not to have it."""
        offered = self._provider(self.default).models()
        if request.model is None or not offered or request.model in offered:
            return request
        others = [name for name, provider in self.upstreams.items() if request.model in provider.models()]
        return replace(request, upstream=others[0]) if len(others) == 1 else request

    def _known(self, request: SpeechRequest) -> SpeechRequest:
        if request.upstream in self.upstreams or request.upstream in self._missing:
            return request
        raise InvalidRequest(
            "There is no such upstream.",
            param="upstream",
            remedy=f"There are: {', '.join(sorted(self.upstreams))}.",
        )

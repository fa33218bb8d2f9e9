"""The providers there are, by name; one is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from sayonce.errors import InvalidSettings
from sayonce.providers.contract import Provider

#: Those of this package, each with its module and class.
OURS = {
    "deepgram": "sayonce.providers.deepgram:DeepgramProvider",
    "declared": "sayonce.providers.declared:DeclaredProvider",
    "elevenlabs": "sayonce.providers.elevenlabs:ElevenLabsProvider",
    "espeak": "sayonce.providers.espeak:EspeakProvider",
    "openai": "sayonce.providers.openai:OpenAIProvider",
    "replicate": "sayonce.providers.replicate:ReplicateProvider",
    "wispr": "sayonce.providers.declared:WisprProvider",
}


def known() -> Sequence[str]:
    """The names of all providers: ours, and those that other packages add under `sayonce.providers`."""
    return sorted({*OURS, *(point.name for point in entry_points(group="sayonce.providers"))})


def is_known(provider: str) -> bool:
    """Whether there is one of that name. Of ours it is told without a look at all that is installed."""
    return provider in OURS or bool(entry_points(group="sayonce.providers", name=provider))


def make(name: str, provider: str, table: Mapping[str, object]) -> Provider:
    """The upstream `name` of that provider with its settings; InvalidSettings where there is no such provider,
    MissingExtra where it is not installed."""
    return kind(name, provider).from_settings(name, table)


def kind(name: str, provider: str) -> type[Provider]:
    """The class of that provider, for the upstream `name`; InvalidSettings where there is none."""
    if provider in OURS:
        module, _, attribute = OURS[provider].partition(":")
        return cast(type[Provider], getattr(import_module(module), attribute))
    for point in entry_points(group="sayonce.providers", name=provider):
        return cast(type[Provider], point.load())
    raise InvalidSettings(
        f"The upstream '{name}' has the provider '{provider}', which there is not.",
        remedy=f"There are: {', '.join(known())}.",
    )

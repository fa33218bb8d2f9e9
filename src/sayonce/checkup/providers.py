"""Can those who speak be asked? They are not made to speak, and bill nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from sayonce.checkup.clock import Clocks
from sayonce.checkup.findings import Finding, Part
from sayonce.chosen import upstream_of
from sayonce.errors import InvalidSettings, MissingExtra, ProviderError
from sayonce.providers.contract import Provider
from sayonce.providers.vendor import Vendor
from sayonce.settings import VENDORS, Settings, environment


def part_of(name: str) -> Part:
    """What findings of that upstream are of."""
    return Part(f"provider {name}")


async def findings(settings: Settings, name: str, clocks: Clocks) -> AsyncGenerator[Finding, None]:
    """What can be said of one upstream."""
    part = part_of(name)
    try:
        provider = upstream_of(settings, name)
    except (InvalidSettings, MissingExtra, ProviderError) as error:
        yield part.failed("set up", error)
        return
    try:
        yield part.ok("set up", f"It speaks by {provider.name}.")
        if isinstance(provider, Vendor):
            yield _key(part, name, provider)
        yield await _reached(part, provider, clocks)
    finally:
        await provider.aclose()


def _key(part: Part, name: str, provider: Vendor[Any]) -> Finding:
    settings = provider.settings
    if settings.api_key is not None or settings.headers:
        return part.ok("key", "It is set.")
    if not settings.at_home:
        return part.ok("key", "None is set: its server is taken to ask for none.")
    what = environment(VENDORS[name][0]) if name in VENDORS else f"api_key in [upstreams.{name}]"
    return part.wrong("key", "None is set, and the vendor asks for one.", f"Set {what}.")


async def _reached(part: Part, provider: Provider, clocks: Clocks) -> Finding:
    try:
        clock = await provider.reach()
    except ProviderError as error:
        return part.failed("reached", error)
    if clock is not None:
        clocks.told(part.name, clock)
    here = not isinstance(provider, Vendor)
    return part.ok("reached", "It runs on this machine." if here else "It answers; it was not asked to speak.")

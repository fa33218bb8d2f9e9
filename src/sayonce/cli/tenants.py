"""`sayonce keys tenant`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.console import Console

from sayonce.access.tenants import altered, refuse_nameless
from sayonce.catalog.records import Tenant
from sayonce.cli.catalogs import at_work
from sayonce.errors import InvalidRequest
from sayonce.speech.voices import VoiceSettings

_OF_VOICES = {each.name for each in fields(VoiceSettings)} - {"options"}
_RESETTABLE = {"rate", "burst", "budget", "public", "disabled", "chain", "greeting", *_OF_VOICES}


def put_tenant(
    tenant: Annotated[str, typer.Argument(help="Which tenant; a new one is made.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Requests a second that it may make.")] = None,
    burst: Annotated[float | None, typer.Option(min=1, help="Requests that it may make at once.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="What it may spend a month, in the currency.")] = None,
    public: Annotated[bool | None, typer.Option(help="Whether anybody may fetch its audio by its URL.")] = None,
    disabled: Annotated[bool | None, typer.Option(help="Whether it is shut out.")] = None,
    chain: Annotated[str | None, typer.Option(help="Who speaks, and who in whose place: replicate,deepgram.")] = None,
    greeting: Annotated[str | None, typer.Option(help="What callers are greeted with.")] = None,
    voice: Annotated[str | None, typer.Option(help="The voice of its greeting and calls.")] = None,
    provider: Annotated[str | None, typer.Option(help="Whose voice that is.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of that provider's.")] = None,
    language: Annotated[str | None, typer.Option(help="The language, such as `de`.")] = None,
    speed: Annotated[float | None, typer.Option(help="How fast: 1 is normal.")] = None,
    instructions: Annotated[str | None, typer.Option(help="How to speak, where the model heeds that.")] = None,
    audio_format: Annotated[str | None, typer.Option("--format", help="mp3, wav, ulaw, …")] = None,
    reset: Annotated[
        list[str] | None, typer.Option(help="What is to be the setting's default again, such as `budget`.")
    ] = None,
) -> None:
    """Set a tenant's limits, voice and greeting. What is left out stays as it is; an empty text is none.

    A running gateway makes a new greeting at once, another when it starts.
    """
    refuse_nameless(tenant)
    told: dict[str, Any] = {"rate": rate, "burst": burst, "budget": budget, "public": public, "disabled": disabled}
    told |= {"chain": None if chain is None else _names(chain), "greeting": greeting}
    spoken = {"provider": provider, "model": model, "voice": voice, "language": language, "speed": speed}
    spoken |= {"instructions": instructions, "format": audio_format}
    given = _told(told, reset or [])
    manner = {name: value or None for name, value in _told(spoken, reset or []).items()}
    changes = given | ({"voice": manner} if manner else {})
    at_work(lambda catalog: catalog.alter_tenant(tenant, lambda now: altered(now or Tenant(tenant), changes)))
    Console(stderr=True).print(f"set tenant {tenant}")


def _told(values: dict[str, Any], reset: list[str]) -> dict[str, Any]:
    """What was told, and as None what is to be as usual again."""
    for name in set(reset) - _RESETTABLE:
        raise InvalidRequest(
            f"A tenant has no '{name}' to reset.", remedy=f"It has: {', '.join(sorted(_RESETTABLE))}."
        )
    return {
        name: None if name in reset else value for name, value in values.items() if value is not None or name in reset
    }


def _names(told: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in told.split(",") if part.strip())

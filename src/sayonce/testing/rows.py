"""Rows for the contract suites of the catalog, told by a name."""

from __future__ import annotations

import hashlib
from typing import Any

from sayonce.catalog.records import Asset, Blob, TakeOff
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import MP3, AudioFormat
from sayonce.speech.requests import Owner


def hashed(name: str) -> bytes:
    """A hash that is told by a name."""
    return hashlib.sha256(name.encode()).digest()


def asset(name: str, **other: Any) -> Asset:
    """An asset of the recipe `name`."""
    format_: AudioFormat = other.get("format", MP3)
    digest = hashed(f"bytes of {name} {format_}")
    given: dict[str, Any] = {
        "content_hash": hashed(f"{name} {format_}"),
        "recipe_hash": hashed(name),
        "format": format_,
        "owner": Owner("default"),
        "upstream": "openai",
        "model": "tts-1",
        "voice": "nova",
        "language": None,
        "text": f"Say {name}.",
        "characters": 5,
        "size": 1_000,
        "digest": digest,
        "duration": 1.5,
        "sample_rate": 24_000,
        "marks": (Mark(0.0, 0.5, 0, 3, "word"),),
        "cost": 75,
        "transcoded": False,
        "flags": frozenset({"implausible"}),
        "made_at": 1_000.0,
        "until": None,
        "blobs": (Blob("local", f"audio/{digest.hex()}", digest),),
    }
    return Asset(**(given | other))


def wish(name: str, holder: str = "here", **other: Any) -> TakeOff:
    """The wish to fly the recipe `name`."""
    return TakeOff(hashed(name), hashed(f"{name} {MP3}"), other.pop("tenant", "default"), holder, **other)

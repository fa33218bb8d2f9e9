"""When what is said, as doors tell it."""

from __future__ import annotations

from collections.abc import Sequence

from sayonce.catalog.records import Asset
from sayonce.errors import NoTimings
from sayonce.providers.contract import Provider
from sayonce.speech import timings
from sayonce.speech.chunks import Mark

#: Says that nobody measured the times.
ESTIMATED = (b"x-tts-timings", b"estimated")


def marks_of(asset: Asset, text: str, *, estimate: bool) -> Sequence[Mark]:
    """An asset's marks; estimated ones where nobody told any and that is allowed, else none."""
    if asset.marks or not estimate:
        return asset.marks
    return timings.estimated(text, asset.duration)


def demand(provider: Provider, *, estimate: bool) -> None:
    """NoTimings where this provider tells none and none may be estimated: before anybody is paid."""
    if not provider.timed and not estimate:
        raise no_timings(provider.upstream.name)


def no_timings(upstream: str) -> NoTimings:
    """What is answered where nobody knows when what is said."""
    return NoTimings(
        f"'{upstream}' does not tell when what is said.",
        param="voice",
        remedy="Ask a voice that does, or allow estimates (estimate_timings = true).",
    )

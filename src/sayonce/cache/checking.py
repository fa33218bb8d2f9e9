"""Law 3: nothing broken is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sayonce.audio.check import plausible
from sayonce.audio.probe import Undecodable
from sayonce.audio.proving import Prover
from sayonce.cache.metadata import digest_of
from sayonce.cache.orders import Clip, Order
from sayonce.cache.takes import Take
from sayonce.catalog.records import Asset
from sayonce.errors import BrokenAudio
from sayonce.speech.recipes import Recipe


async def checked(order: Order, said: Recipe, take: Take, prover: Prover, *, keep_text: bool, now: float) -> Clip:
    """The clip of a finished take of what was `said` for an order, its header true and all of it decoded. BrokenAudio
    where it is not whole."""
    name = order.provider.upstream.name
    try:
        data = take.whole() if take.light else await asyncio.to_thread(take.whole)
        measured = await prover.prove(data, order.format)
    except Undecodable as error:
        raise BrokenAudio(
            f"'{name}' sent {order.format.codec} audio that is not whole: {error}.",
            provider=name,
            remedy="Try again.",
        ) from error
    asset = Asset(
        content_hash=order.content_hash,
        recipe_hash=order.recipe.hash,
        format=order.format,
        owner=said.owner,
        upstream=name,
        model=said.model,
        voice=said.voice,
        language=said.language,
        text=said.text if keep_text else None,
        characters=len(said.text),
        size=len(data),
        digest=await digest_of(data),
        duration=measured.duration,
        sample_rate=measured.sample_rate,
        marks=tuple(take.marks),
        cost=order.price(said),
        transcoded=False,
        flags=frozenset(),
        made_at=now,
        until=None,
        blobs=(),
    )
    return Clip(asset, data)


def is_plausible(recipe: Recipe, clip: Clip) -> bool:
    """Whether saying this text can have taken that long."""
    return plausible(clip.asset.duration, recipe.text, recipe.language, float(recipe.speed))


def flagged(clip: Clip, flag: str) -> Clip:
    """The clip with a flag on its asset."""
    return Clip(replace(clip.asset, flags=clip.asset.flags | {flag}), clip.data)

"""Speaking later: `Prefer: respond-async` (RFC 7240) asks for 202 instead of waiting until something is spoken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.types import Scope

from sayonce.api import answers, links
from sayonce.app import Gateway
from sayonce.audio.formats import extension
from sayonce.cache.answers import Answer
from sayonce.cache.orders import Chain, Order, Steering
from sayonce.errors import CatalogError, NotKept, StorageError
from sayonce.telemetry.logs import get_logger

# When to look again, in seconds.
_AGAIN = [(b"retry-after", b"1")]

_log = get_logger("sayonce.api")


def preferred(scope: Scope, steering: Steering) -> Steering | None:
    """How to look for what is kept where the caller prefers not to wait; None where he waits: also who steers the
    cache otherwise, which is about this very answer."""
    if steering.no_store or steering.no_cache or steering.only_if_cached:
        return None
    told = b",".join(value for name, value in scope["headers"] if name == b"prefer").decode("latin-1")
    wishes = {each.partition(";")[0].partition("=")[0].strip().lower() for each in told.split(",")}
    return replace(steering, only_if_cached=True) if "respond-async" in wishes else None


async def kept_or_queued(gateway: Gateway, chain: Chain, kept: Chain) -> Answer | None:
    """What is kept; or None, when its speaking is queued. Where the cache is in trouble it is spoken at once."""
    try:
        return await gateway.engine.say(kept)
    except NotKept:
        pass
    except (CatalogError, StorageError) as error:
        _log.warning("queue.gone_around", error=error.code)
        return await gateway.engine.say(chain)
    try:
        if await gateway.queue.add([chain.first]):
            return None
    except CatalogError as error:
        _log.warning("queue.gone_around", error=error.code)
    return await gateway.engine.say(chain)


def queued(order: Order, where: links.Links) -> answers.Bytes:
    """202: what is spoken later, and where it will be."""
    recipe, name = order.recipe, order.content_hash.hex()
    told: dict[str, Any] = {
        "content_hash": name,
        "recipe_hash": recipe.hash.hex(),
        "provider": order.provider.upstream.name,
        "model": recipe.model,
        "voice": recipe.voice,
        "language": recipe.language,
        "format": extension(order.format),
        "characters": len(recipe.text),
        "scope": recipe.owner.scope,
        "url": where.later(order.content_hash, order.format),
        "cached": False,
        "outcome": "queued",
    }
    headers: answers.Headers = [
        (b"location", f"/api/voice/{name}".encode()),
        (b"preference-applied", b"respond-async"),
        (b"x-content-hash", name.encode()),
        *_AGAIN,
    ]
    return answers.as_json(told, 202, headers)


def still_queued(content_hash: bytes) -> answers.Bytes:
    """202 where it is asked for meanwhile."""
    return answers.as_json({"content_hash": content_hash.hex(), "outcome": "queued"}, 202, _AGAIN)

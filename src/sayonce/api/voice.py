"""Our own door: `POST /api/voice`, JSON in and out; `GET` and `DELETE /api/voice/{content_hash}`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI, Header
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers, deferred, links
from sayonce.api.bodies import VoiceBody, parse
from sayonce.api.costs import money
from sayonce.api.desk import Desk, Visit, cleaned, read_body
from sayonce.api.door import Door, hang
from sayonce.api.timings import marks_of
from sayonce.app import Gateway
from sayonce.audio.formats import any_format_of, extension
from sayonce.cache.answers import Answer, whole
from sayonce.cache.orders import Outcome
from sayonce.catalog.records import Asset
from sayonce.errors import TextTooLong
from sayonce.speech.requests import Owner, SpeechRequest
from sayonce.speech.timings import words

_MOST_BYTES_A_CHARACTER = 12  # a surrogate pair, escaped


class VoiceDoor(Door):
    """`POST /api/voice`: has a text spoken and tells where its audio is."""

    words: ClassVar[Mapping[str, str]] = {"input": "text", "response_format": "format", "upstream": "provider"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk
        self._longest = gateway.settings.max_text

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        visit = await self._desk.receive(scope)
        most = self._longest * _MOST_BYTES_A_CHARACTER + 65_536
        body = parse(VoiceBody, await read_body(receive, visit.headers, most))
        cast = self.gateway.cast
        request = await cleaned(cast, request_of(body, visit, self._longest), visit.cleaning(body.cleaning))
        names = visit.chain(body.chain)
        chain = cast.chain(request, visit.steering, names)
        links_of = links.Links(self.gateway, scope)
        answer: Answer | None = self.gateway.engine.recall(chain.first)
        if answer is None and (later := deferred.preferred(scope, visit.steering)) is not None:
            answer = await deferred.kept_or_queued(self.gateway, chain, cast.chain(request, later, names))
            if answer is None:
                return deferred.queued(chain.first, links_of)
        answer = answer or await self.gateway.engine.say(chain)
        asset = (await whole(answer)).asset
        told = self._told(answer, asset, await links_of.of(asset, visit.caller.tenant) if asset.blobs else None)
        timing = b"total;dur=%.3f" % ((time.perf_counter() - began) * 1000)
        return answers.as_json(told, headers=[*headers_of(answer, asset), (b"server-timing", timing)])

    def _told(self, answer: Answer, asset: Asset, url: str | None) -> dict[str, Any]:
        spoken = answer.outcome in (Outcome.MISS, Outcome.BYPASS, Outcome.DISABLED)
        text = asset.text or answer.said
        return {
            **row(asset),
            "url": url,
            "cached": not spoken,
            "outcome": answer.outcome,
            **money(asset.cost, self.gateway.settings.currency, spoken=spoken),
            "words": [
                {"word": text[mark.first : mark.first + mark.length], "start": mark.start, "end": mark.end}
                for mark in words(marks_of(asset, text, estimate=self.gateway.settings.estimate_timings))
            ],
            "timings": "measured" if asset.marks else "estimated" if self.gateway.settings.estimate_timings else None,
        }


class AssetDoor(Door):
    """`GET` and `DELETE /api/voice/{content_hash}`: an asset's row, and its removal."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope)
        content_hash = links.parsed(scope["path_params"]["content_hash"])
        if scope["method"] == "DELETE":
            return await self._remove(content_hash, visit)
        asset = await self._find(content_hash, visit)
        if asset is None:
            owners = [*await self.gateway.catalog.wished_by(content_hash), *self._unkept(content_hash)]
            if any(may_have(visit, owner) for owner in owners):
                return deferred.still_queued(content_hash)
            asset = await self._find(content_hash, visit)  # it may have been made between the two
        if asset is None:
            raise links.not_there()
        url = await links.Links(self.gateway, scope).of(asset, visit.caller.tenant)
        return answers.as_json({**row(asset), "url": url, "text": asset.text})

    async def _find(self, content_hash: bytes, visit: Visit) -> Asset | None:
        asset = await self.gateway.shelf.find(content_hash)
        return asset if asset is not None and may_have(visit, asset.owner) else None

    def _unkept(self, content_hash: bytes) -> Sequence[Owner]:
        """Whose it is, where it is spoken, and yet to be kept."""
        clip = self.gateway.hot.get(content_hash)
        return () if clip is None or clip.kept else (clip.asset.owner,)

    async def _remove(self, content_hash: bytes, visit: Visit) -> ASGIApp:
        user, session = visit.header("x-sayonce-user"), visit.header("x-sayonce-session")
        caller = visit.caller
        removed = await self.gateway.engine.remove(
            content_hash, caller.tenant.id, lambda owner: caller.may_have(owner, user, session)
        )
        if not removed:
            raise links.not_there()
        return answers.as_json({"deleted": True, "content_hash": content_hash.hex()})


def request_of(body: VoiceBody, visit: Visit, longest: int) -> SpeechRequest:
    """What a body asks for; TextTooLong where it is more than `longest` characters."""
    if len(body.text) > longest:
        raise TextTooLong(
            f"The text has {len(body.text)} characters.", param="text", remedy=f"Send at most {longest} at a time."
        )
    return SpeechRequest(
        text=body.text,
        upstream=body.provider,
        model=body.model,
        voice=body.voice,
        language=body.language or visit.header("x-sayonce-language"),
        speed=body.speed,
        pitch=body.pitch,
        style=body.style,
        instructions=body.instructions,
        options=body.options,
        variation=visit.variation(body.variation),
        owner=visit.owner(body.scope, body.user, body.session),
        format=any_format_of(body.format),
    )


def row(asset: Asset) -> dict[str, Any]:
    """An asset as our doors tell of it."""
    return {
        "content_hash": asset.content_hash.hex(),
        "recipe_hash": asset.recipe_hash.hex(),
        "digest": asset.digest.hex(),
        "provider": asset.upstream,
        "model": asset.model,
        "voice": asset.voice,
        "language": asset.language,
        "format": extension(asset.format),
        "duration": round(asset.duration, 3),
        "sample_rate": asset.sample_rate,
        "size": asset.size,
        "characters": asset.characters,
        "scope": asset.owner.scope,
        "flags": sorted(asset.flags),
        "made_at": asset.made_at,
        "keep_until": asset.until,
    }


def may_have(visit: Visit, owner: Owner) -> bool:
    """Whether what is that owner's is for who sent this request."""
    return visit.caller.may_have(owner, visit.header("x-sayonce-user"), visit.header("x-sayonce-session"))


def headers_of(answer: Answer, asset: Asset) -> answers.Headers:
    """What every answer about audio says of it."""
    return [
        (b"x-tts-cache", answer.outcome.encode()),
        (b"x-tts-provider", asset.upstream.encode()),
        (b"x-content-hash", asset.content_hash.hex().encode()),
    ]


def speak(body: VoiceBody, prefer: Annotated[str | None, Header()] = None) -> None:
    """Has a text spoken, or finds it spoken, and tells its hash, its URL, its words and what it cost or saved. With
    `Prefer: respond-async` the answer to what is yet to be spoken is 202: it is queued, and `Location` tells where it
    will be."""


def show_asset(content_hash: str) -> None:
    """What is kept under a content hash; 202 while it is queued, or yet to be kept."""


def delete_asset(content_hash: str) -> None:
    """Deletes an asset with every other format of it, or what is queued."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors."""
    hang(app, "/api/voice", "POST", VoiceDoor(gateway, desk), speak)
    hang(app, "/api/voice/{content_hash}", "GET", AssetDoor(gateway, desk), show_asset)
    hang(app, "/api/voice/{content_hash}", "DELETE", AssetDoor(gateway, desk), delete_asset)

"""`GET /audio/{content_hash}.{ext}`: the bytes, for players, browsers, telephones and CDNs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from email.utils import formatdate
from functools import partial
from urllib.parse import parse_qs
from weakref import ref

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope

from sayonce.access.callers import Caller
from sayonce.access.loopback import refuse_strangers
from sayonce.api import links, ranges
from sayonce.api.answers import VARIANT, Bytes, Headers, Repeat
from sayonce.api.door import Door, hang
from sayonce.api.timings import ESTIMATED, marks_of
from sayonce.app import Gateway
from sayonce.audio.formats import content_type, extension
from sayonce.cache.orders import Clip
from sayonce.catalog.records import Asset
from sayonce.errors import AccessError
from sayonce.speech import timings
from sayonce.speech.chunks import Mark

_YEAR = 31_536_000
_TIMINGS = {"json", "vtt"}


class AudioDoor(Door):
    """The bytes of an asset, or its timings as JSON or WebVTT."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        name, _, ext = scope["path_params"]["name"].partition(".")
        content_hash = links.parsed(name)
        query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        headers: dict[bytes, bytes] = dict(scope["headers"])
        signed = self._signature(scope["path"], query)
        if signed is None and "sig" in query:
            raise links.not_there()  # expired, or not ours
        caller = None if signed is not None else await self._caller(scope, headers)
        epoch = self.gateway.hot.epoch
        clip, asset = await self._find(content_hash)
        share = None if asset is None else await self._share(asset, caller, headers, signed is not None)
        if asset is None or share is None:
            raise links.not_there()
        if (
            ext not in (extension(asset.format), *_TIMINGS)
            or query.get("v", asset.digest.hex()) != asset.digest.hex()
        ):
            raise links.not_there()
        keeping = partial(self._keeping, asset.until, share, query, signed=signed is not None)
        if ext in _TIMINGS:
            estimate = self.gateway.settings.estimate_timings
            return _timings(asset, marks_of(asset, asset.text or "", estimate=estimate), ext, keeping())
        if (
            self.gateway.settings.delivery == "storage"
            and (there := await self._elsewhere(asset, signed)) is not None
        ):
            return there
        if clip is None and (clip := await self.gateway.shelf.fetch(asset)) is None:
            raise links.not_there()
        self.gateway.hot.put(clip, epoch)
        answer = _bytes(clip, keeping(), headers, scope["method"])
        if caller is not None or signed is not None:  # what is public is public as long as the catalog says so
            until = None if signed is None else float(query["exp"])
            answer.repeat = Repeat(
                content_hash, ref(asset), caller, counted=False, until=until, fresh={b"cache-control": keeping}
            )
        return answer

    def _signature(self, path: str, query: dict[str, str]) -> float | None:
        """For how long a signed URL is still good; None where it is not signed, or not rightly."""
        signer = self.gateway.signer
        if not signer.accepts(path, query.get("v", ""), query.get("exp", ""), query.get("sig", "")):
            return None
        return signer.remaining(query["exp"])

    async def _caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller | None:
        """Who asks; None for a stranger, who may have what is public."""
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        try:
            caller = await self.gateway.gate.admit(key.strip() if scheme.lower() == "bearer" else None)
            if caller.key_id is None:
                refuse_strangers(scope["headers"], self.gateway.settings.cors_origins)
        except AccessError:
            return None
        return caller

    async def _elsewhere(self, asset: Asset, signed: float | None) -> Bytes | None:
        """A redirect to where its storage serves it; None where it does not. Whoever keeps the redirect finds it good
        for as long as he may."""
        life = links.life_of(asset, self.gateway.settings.url_seconds if signed is None else signed)
        address = await self.gateway.shelf.address(asset, life) if life >= 1 else None
        if address is None:
            return None
        headers: Headers = [
            (b"location", address.encode()),
            (b"cache-control", b"private, max-age=%d" % (life / 2)),
            (b"vary", b"authorization"),
            (b"x-content-hash", asset.content_hash.hex().encode()),
            (b"x-tts-cache", b"hit"),
            (b"x-tts-provider", asset.upstream.encode()),
            (b"content-length", b"0"),
        ]
        return Bytes(302, headers, b"")

    async def _find(self, content_hash: bytes) -> tuple[Clip | None, Asset | None]:
        clip = self.gateway.hot.get(content_hash)
        if clip is not None:
            return clip, clip.asset
        return None, await self.gateway.shelf.find(content_hash)

    async def _share(
        self, asset: Asset, caller: Caller | None, headers: dict[bytes, bytes], signed: bool
    ) -> str | None:
        """Who may keep the answer, in Cache-Control's words; None where it is not for who asks."""
        if signed:
            return "private"
        if caller is not None:
            user, session = (headers.get(name, b"").decode("utf-8", "replace") for name in _NAMES)
            return "private" if caller.may_have(asset.owner, user, session) else None
        tenant = await self.gateway.catalog.tenant(asset.owner.tenant)
        return "public" if tenant is not None and tenant.public and not tenant.disabled else None

    def _keeping(self, until: float | None, share: str, query: dict[str, str], *, signed: bool) -> bytes:
        """Cache-Control: whoever has the right version may keep it, but never past the URL's or the asset's end."""
        if "v" not in query:
            return b"%b, no-cache" % share.encode()
        longest = min(
            self.gateway.signer.remaining(query["exp"]) if signed else _YEAR,
            _YEAR if until is None else max(until - time.time(), 0.0),
        )
        return b"%b, max-age=%d, immutable" % (share.encode(), longest)


_NAMES = (b"x-sayonce-user", b"x-sayonce-session")


def _bytes(clip: Clip, keeping: bytes, asked: dict[bytes, bytes], method: str) -> Bytes:
    asset, etag = clip.asset, f'"{clip.asset.digest.hex()}"'
    headers: Headers = [
        (b"content-type", content_type(asset.format).encode()),
        (b"etag", etag.encode()),
        (b"last-modified", formatdate(asset.made_at, usegmt=True).encode()),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", keeping),
        (b"vary", b"authorization"),
        (b"x-content-hash", asset.content_hash.hex().encode()),
        (b"x-tts-cache", b"hit"),
        (b"x-tts-provider", asset.upstream.encode()),
    ]
    if asset.transcoded:
        headers.append(VARIANT)
    if _matches(asked.get(b"if-none-match"), etag):
        return Bytes(304, headers, b"")
    status, body = 200, clip.data
    wanted = asked.get(b"range", b"").decode("latin-1")
    if wanted and _same(asked.get(b"if-range"), etag):
        try:
            part = ranges.parse(wanted, len(clip.data))
        except ranges.Unsatisfiable:
            range_ = (b"content-range", b"bytes */%d" % len(clip.data))
            return Bytes(416, [range_, (b"cache-control", b"no-store"), (b"content-length", b"0")], b"")
        if part is not None:
            status, body = 206, clip.data[part[0] : part[1]]
            headers.append((b"content-range", b"bytes %d-%d/%d" % (part[0], part[1] - 1, len(clip.data))))
    headers.append((b"content-length", b"%d" % len(body)))
    return Bytes(status, headers, b"" if method == "HEAD" else body)


def _timings(asset: Asset, marks: Sequence[Mark], ext: str, keeping: bytes) -> ASGIApp:
    words = timings.words(marks)
    if ext == "vtt":
        body, kind = _vtt(words, asset.text).encode(), b"text/vtt; charset=utf-8"
    else:
        body, kind = json.dumps({"words": [_word(m, asset.text) for m in words]}).encode(), b"application/json"
    headers: Headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", keeping),
    ]
    return Bytes(200, headers if marks is asset.marks else [*headers, ESTIMATED], body)


def _word(mark: Mark, text: str | None) -> dict[str, object]:
    word = {} if text is None else {"word": text[mark.first : mark.first + mark.length]}
    return {"start": mark.start, "end": mark.end, "first": mark.first, "length": mark.length, **word}


def _vtt(words: Sequence[Mark], text: str | None) -> str:
    return "WEBVTT\n\n" + "\n".join(_cue(mark, text or "") for mark in words)


def _cue(mark: Mark, text: str) -> str:
    word = _escaped(text[mark.first : mark.first + mark.length])
    return f"{_clock(mark.start)} --> {_clock(mark.end)}\n{word}\n"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60):02}:{int(minutes % 60):02}:{rest:06.3f}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _matches(header: bytes | None, etag: str) -> bool:
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.decode("latin-1").split(",")}
    return etag in tags or "*" in tags


def _same(header: bytes | None, etag: str) -> bool:
    return header is None or header.decode("latin-1").strip() == etag


def fetch_audio(name: str) -> None:
    """The bytes of `{content_hash}.{ext}`, with ranges, ETag and HEAD; `.json` and `.vtt` give its words' times."""


def hang_doors(app: FastAPI, gateway: Gateway) -> None:
    """Hangs this door."""
    hang(app, "/audio/{name}", "GET", AudioDoor(gateway), fetch_audio)

"""The URLs of audio: `/audio/{content_hash}.{ext}?v={digest}`, signed unless their tenant is public."""

from __future__ import annotations

import time

from starlette.types import Scope

from sayonce.app import Gateway
from sayonce.audio.formats import extension
from sayonce.catalog.records import Asset, Tenant
from sayonce.errors import NotFound
from sayonce.speech.formats import AudioFormat

_HASH = 64  # hex digits


class Links:
    """Makes URLs that whoever sent this request can reach: by the public address in the settings, else by the one
    that the request came to."""

    def __init__(self, gateway: Gateway, scope: Scope) -> None:
        self._gateway = gateway
        self._base = (gateway.settings.public_url or _came_to(scope)).rstrip("/")

    async def of(self, asset: Asset, tenant: Tenant) -> str:
        """The URL of an asset of that tenant's: its storage's own where that gives one, else the gateway's. A signed
        one never outlives the asset."""
        path, version = path_of(asset), asset.digest.hex()
        if tenant.public and tenant.id == asset.owner.tenant:
            return f"{self._base}{path}?v={version}"
        life = life_of(asset, self._gateway.settings.url_seconds)
        address = await self._gateway.shelf.address(asset, life) if life >= 1 else None
        return address or f"{self._base}{path}?{self._gateway.signer.sign(path, version, life)}"

    def later(self, content_hash: bytes, audio_format: AudioFormat) -> str:
        """The URL of what is yet to be made: unsigned, since nobody knows its version, so it takes the caller's key
        unless its tenant is public."""
        return f"{self._base}/audio/{content_hash.hex()}.{extension(audio_format)}"


def life_of(asset: Asset, longest: float) -> float:
    """For how many seconds a URL of an asset may be good."""
    return longest if asset.until is None else min(longest, asset.until - time.time())


def path_of(asset: Asset) -> str:
    """The path of an asset's audio."""
    return f"/audio/{asset.content_hash.hex()}.{extension(asset.format)}"


def parsed(content_hash: str) -> bytes:
    """The hash of its hex digits; NotFound where it is none."""
    if len(content_hash) != _HASH or not content_hash.isascii():
        raise not_there()
    try:
        return bytes.fromhex(content_hash)
    except ValueError as error:
        raise not_there() from error


def not_there() -> NotFound:
    """The one answer to what is not there and to what is not for this caller."""
    return NotFound("There is no such audio.", remedy="It may have expired, or belong to somebody else.")


def _came_to(scope: Scope) -> str:
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    if not host:
        address, port = scope.get("server") or ("127.0.0.1", 80)
        host = f"{address}:{port}"
    return f"{scope.get('scheme', 'http')}://{host}"

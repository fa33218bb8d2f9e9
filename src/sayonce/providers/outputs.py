"""Audio that a vendor's answer only points to: fetched from hosts that are known, and from no others.

Whoever could make a vendor answer with any URL could otherwise make the gateway fetch what only it can reach.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from sayonce.errors import BrokenAudio, ProviderError, ProviderRefused
from sayonce.providers import http
from sayonce.speech.chunks import Chunk


@dataclass(frozen=True, slots=True)
class Source:
    """Where a vendor's outputs may lie: at its own base URL, and, over https alone, at `hosts`; a host that begins
    with a dot stands for all under it."""

    provider: str
    base_url: str
    hosts: Sequence[str] = ()

    def allows(self, url: str) -> bool:
        """Whether a URL may be fetched."""
        try:
            wanted, own = httpx.URL(url), httpx.URL(self.base_url)
        except (httpx.InvalidURL, ValueError):
            return False
        if wanted.userinfo or not wanted.host:
            return False
        if (wanted.scheme, wanted.host, wanted.port) == (own.scheme, own.host, own.port):
            return True
        return (
            wanted.scheme == "https"
            and wanted.port is None
            and any(_is_under(wanted.host, host) for host in self.hosts)
        )

    def is_own(self, url: str) -> bool:
        """Whether a URL is at the vendor's base URL itself, where the key may go."""
        try:
            return urlsplit(url)[:2] == urlsplit(self.base_url)[:2]
        except ValueError:
            return False

    def demand(self, url: str) -> None:
        """ProviderRefused where a URL may not be fetched."""
        if not self.allows(url):
            raise ProviderRefused(
                f"'{self.provider}' pointed to a host that is not its own.",
                provider=self.provider,
                remedy="If it is right, name the host in output_hosts.",
            )

    @asynccontextmanager
    async def fetched(self, client: httpx.AsyncClient, url: str) -> AsyncIterator[AsyncIterator[Chunk]]:
        """The audio of a URL, as it comes. The client must not carry a key unless the URL is the vendor's own.
        ProviderRefused where it may not be fetched; errors of the way are ProviderErrors."""
        if url.startswith("data:"):
            yield _once(self._inline(url))
            return
        self.demand(url)
        async with http.translated(self.provider):
            response = await client.send(client.build_request("GET", url), stream=True)
        try:
            if not response.is_success:
                raise self._unfetched(response.status_code)
            http.refuse_text(response, self.provider)
            yield self._chunks(response)
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[Chunk]:
        empty = True
        async for data in http.body(response, self.provider):
            empty = empty and not data
            yield Chunk(data)
        if empty:
            raise self._broken("gave an empty file")

    def _inline(self, url: str) -> bytes:
        kind, _, data = url.partition(",")
        if not kind.endswith(";base64") or kind.startswith("data:text"):
            raise self._broken("gave no audio in its answer")
        return decoded(data, self.provider)

    def _unfetched(self, status: int) -> ProviderError:
        what = "a redirect" if 300 <= status < 400 else str(status)
        return self._broken(f"answered with {what} where its audio should be")

    def _broken(self, what: str) -> BrokenAudio:
        return BrokenAudio(f"'{self.provider}' {what}.", provider=self.provider, remedy="Try again.")


def decoded(data: str, provider: str) -> bytes:
    """Base64 as bytes; BrokenAudio where it is none, or nothing."""
    try:
        audio = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenAudio(
            f"'{provider}' sent something that is no base64.", provider=provider, remedy="Try again."
        ) from error
    if not audio:
        raise BrokenAudio(f"'{provider}' sent no audio.", provider=provider, remedy="Try again.")
    return audio


def _is_under(host: str, known: str) -> bool:
    return host.endswith(known) if known.startswith(".") else host == known


async def _once(data: bytes) -> AsyncIterator[Chunk]:
    yield Chunk(data)

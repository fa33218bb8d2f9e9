"""Speaking from Python: over HTTP to a gateway, or embedded, with the same calls.

async with Client("http://127.0.0.1:8700", key="sayonce_…") as say:      # over HTTP
async with EmbeddedClient() as say:                                        # in this process
    spoken = await say.speech("Hello.", voice="nova")

with SyncClient("http://127.0.0.1:8700") as say:                         # and either without awaiting
    spoken = say.speech("Hello.", voice="nova")
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from sayonce.app import Gateway, running
from sayonce.audio.formats import any_format_of
from sayonce.cache.answers import Live, whole
from sayonce.cache.orders import Chain, Steering
from sayonce.errors import (
    ClientMisused,
    GatewayRefused,
    InvalidRequest,
    InvalidText,
    ProviderUnavailable,
    SayonceError,
)
from sayonce.portal import Portal
from sayonce.settings import Settings, load
from sayonce.speech.canonical import Json
from sayonce.speech.requests import Owner, Scope, SpeechRequest


@dataclass(frozen=True, slots=True)
class Spoken:
    """Audio, and where it came from: `outcome` is hit, joined, miss, bypass or disabled."""

    audio: bytes
    outcome: str
    provider: str
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to say it; what is left out is the gateway's to choose. `format` is a public name such as `mp3`."""

    voice: str | None = None
    model: str | None = None
    language: str | None = None
    speed: float = 1.0
    instructions: str | None = None
    options: Mapping[str, Json] | None = None
    variation: int = 0
    scope: str = "tenant"
    user: str | None = None
    session: str | None = None
    chain: Sequence[str] = ()
    format: str = "mp3"
    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False


class Speaker(ABC):
    """The calls that both clients have. Errors are SayonceErrors."""

    async def speech(self, text: str, **manner: Any) -> Spoken:
        """The audio of a text, all of it. The keywords are Manner's."""
        _refuse_no_text(text)
        heard, stream = await self._say(text, Manner(**manner))
        async with aclosing(stream):
            pieces = [piece async for piece in stream]
        return Spoken(b"".join(pieces), heard.outcome, heard.provider, heard.content_hash)

    async def stream(self, text: str, **manner: Any) -> AsyncGenerator[bytes, None]:
        """The audio of a text as it comes. The keywords are Manner's. Closed early, it hears no more of it."""
        _refuse_no_text(text)
        _, stream = await self._say(text, Manner(**manner))
        async with aclosing(stream):
            async for piece in stream:
                yield piece

    @abstractmethod
    async def statistics(self) -> Mapping[str, Any]:
        """What is kept, and what it saved."""

    @abstractmethod
    async def _say(self, text: str, manner: Manner) -> tuple[Spoken, AsyncGenerator[bytes, None]]:
        """Where it comes from (without its audio), and its audio as it comes."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees what it holds."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Client(Speaker):
    """A gateway's client over HTTP. ClientMisused where the base URL is none."""

    def __init__(
        self, base_url: str = "http://127.0.0.1:8700", *, key: str | None = None, timeout: float = 300
    ) -> None:
        _refuse_no_address(base_url)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout)

    async def statistics(self) -> Mapping[str, Any]:
        try:
            response = await self._http.get("/api/cache-stats")
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        await _refuse_error(response)
        stats: Mapping[str, Any] = response.json()["stats"]
        return stats

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _say(self, text: str, manner: Manner) -> tuple[Spoken, AsyncGenerator[bytes, None]]:
        request = self._http.build_request(
            "POST", "/v1/audio/speech", json=_body(text, manner), headers=_cache_control(manner)
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        await _refuse_error(response)
        told = response.headers
        return Spoken(b"", told["x-tts-cache"], told["x-tts-provider"], told["x-content-hash"]), _pieces(response)


class EmbeddedClient(Speaker):
    """A gateway in this process, on the same data folder that others may use at the same time."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._gateway: Gateway | None = None

    async def gateway(self) -> Gateway:
        """The gateway's parts, started at first use."""
        async with self._starting:
            if self._gateway is None:
                self._gateway = await self._stack.enter_async_context(running(self._settings or load()))
            return self._gateway

    async def statistics(self) -> Mapping[str, Any]:
        from sayonce.api.figures import Telling

        return await Telling(await self.gateway()).of(None, lambda owner: owner.tenant == "default")

    async def aclose(self) -> None:
        await self._stack.aclose()

    async def _say(self, text: str, manner: Manner) -> tuple[Spoken, AsyncGenerator[bytes, None]]:
        gateway = await self.gateway()
        answer = await gateway.engine.say(chain_of(gateway, text, manner))
        order = answer.order
        heard = Spoken(b"", answer.outcome, order.provider.upstream.name, order.content_hash.hex())
        if isinstance(answer, Live):
            return heard, _heard(answer.pieces())
        return heard, _one((await whole(answer)).data)


class SyncSpeaker:
    """The calls of a client, for who does not await: the same keywords, answers and errors, from any number of
    threads at once. ClientMisused where an event loop runs in the calling thread, and once it is closed."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._portal = Portal()

    def speech(self, text: str, **manner: Any) -> Spoken:
        """The audio of a text, all of it. The keywords are Manner's."""
        return self._portal.run(self._speaker.speech, text, **manner)

    def stream(self, text: str, **manner: Any) -> Iterator[bytes]:
        """The audio of a text as it comes. The keywords are Manner's. Closed early, it hears no more of it."""
        return self._portal.iterate(self._speaker.stream(text, **manner))

    def statistics(self) -> Mapping[str, Any]:
        """What is kept, and what it saved."""
        return self._portal.run(self._speaker.statistics)

    def close(self) -> None:
        """Frees what it holds. Calls that are under way in other threads end as ClientMisused."""
        self._portal.close(self._speaker.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncClient(SyncSpeaker):
    """A gateway's client over HTTP, for who does not await. ClientMisused where the base URL is none."""

    def __init__(
        self, base_url: str = "http://127.0.0.1:8700", *, key: str | None = None, timeout: float = 300
    ) -> None:
        super().__init__(Client(base_url, key=key, timeout=timeout))


class SyncEmbeddedClient(SyncSpeaker):
    """A gateway in this process, for who does not await."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(EmbeddedClient(settings))


def chain_of(gateway: Gateway, text: str, manner: Manner) -> Chain:
    """The orders of a text, said by the tenant `default` in this process."""
    return gateway.cast.chain(_request(text, manner), _steering(manner), manner.chain)


def _refuse_no_address(base_url: object) -> None:
    try:
        url = httpx.URL(base_url)  # type: ignore[arg-type]  # callers may give anything
        usable = url.scheme in ("http", "https") and bool(url.host)
    except (httpx.InvalidURL, TypeError, ValueError):
        usable = False
    if not usable:  # not told as it is: it may hold a password
        raise ClientMisused(
            "The client's base URL is no address of a gateway.",
            remedy="Give one such as http://127.0.0.1:8700, with http:// or https://.",
        )


def _refuse_no_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidText(
            f"The text is no text: its type is {type(text).__name__}.", param="input", remedy="Give a str."
        )


def _body(text: str, manner: Manner) -> dict[str, Any]:
    given = {
        "model": manner.model or "tts-1",
        "input": text,
        "voice": manner.voice or "alloy",
        "response_format": manner.format,
        "speed": manner.speed,
        "instructions": manner.instructions,
        "language": manner.language,
        "variation": manner.variation,
        "scope": manner.scope,
        "user": manner.user,
        "session": manner.session,
        "chain": list(manner.chain) or None,
    }
    return {name: value for name, value in given.items() if value is not None} | dict(manner.options or {})


def _request(text: str, manner: Manner) -> SpeechRequest:
    return SpeechRequest(
        text=text,
        voice=manner.voice,
        model=manner.model,
        language=manner.language,
        speed=manner.speed,
        instructions=manner.instructions,
        options=manner.options or {},
        variation=manner.variation,
        owner=Owner("default", _scope(manner.scope), manner.user, manner.session),
        format=any_format_of(manner.format),
    )


def _scope(told: str) -> Scope:
    if told not in set(Scope):
        raise InvalidRequest("There is no such scope.", param="scope", remedy=f"Use one of: {', '.join(Scope)}.")
    return Scope(told)


def _steering(manner: Manner) -> Steering:
    return Steering(manner.no_store, manner.no_cache, manner.only_if_cached)


def _cache_control(manner: Manner) -> dict[str, str]:
    words = {"no-store": manner.no_store, "no-cache": manner.no_cache, "only-if-cached": manner.only_if_cached}
    said = ", ".join(word for word, wanted in words.items() if wanted)
    return {"cache-control": said} if said else {}


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx.HTTPError as error:
        raise _unreachable(error) from error
    finally:
        await response.aclose()


async def _heard(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        yield piece


async def _one(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


async def _refuse_error(response: httpx.Response) -> None:
    if response.status_code < 400:
        return
    await response.aread()
    await response.aclose()
    try:
        told = response.json()["error"]
        message, code = str(told["message"]), str(told["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"The gateway answered {response.status_code}.", "unknown"
    raise GatewayRefused(message, status=response.status_code, code=code)


def _unreachable(error: httpx.HTTPError) -> SayonceError:
    return ProviderUnavailable(
        f"The gateway cannot be reached, or ended its answer early ({type(error).__name__}).",
        provider="gateway",
        remedy="See whether it runs: sayonce serve",
    )

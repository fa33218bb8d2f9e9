"""Speaking over HTTP: one pooled client an upstream, its time limits, and what goes wrong on the way."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from sayonce.errors import BrokenAudio, ProviderTimeout, ProviderUnavailable

# An error's body is read this far, for its code; nobody needs more of it.
LONGEST_ERROR = 16_384


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds: to connect, and to the first byte or the next. `connections` at a time."""

    connect: float = 5.0
    first_byte: float = 30.0
    connections: int = 64


def client(limits: Limits, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """A client of one upstream's. It follows no redirect, and goes through no proxy that the environment names: a
    key goes where the settings say, nowhere else."""
    return httpx.AsyncClient(
        headers=dict(headers),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(limits.first_byte, connect=limits.connect),
        limits=httpx.Limits(
            max_connections=limits.connections, max_keepalive_connections=limits.connections, keepalive_expiry=60.0
        ),
    )


@asynccontextmanager
async def translated(provider: str) -> AsyncIterator[None]:
    """Transport errors as ProviderErrors."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise ProviderTimeout(
            f"'{provider}' did not answer in time.",
            provider=provider,
            remedy="Try again, or raise its time limits.",
        ) from error
    except httpx.RemoteProtocolError as error:
        raise ProviderUnavailable(
            f"'{provider}' ended its answer before it was whole.", provider=provider, remedy="Try again."
        ) from error
    except httpx.HTTPError as error:
        raise ProviderUnavailable(
            f"'{provider}' cannot be reached ({type(error).__name__}).",
            provider=provider,
            remedy="See whether its address is right and it is up.",
        ) from error


async def body(response: httpx.Response, provider: str) -> AsyncIterator[bytes]:
    """The answer's bytes as they come."""
    async with translated(provider):
        async for data in response.aiter_raw():
            yield data


async def start_of(response: httpx.Response, most: int = LONGEST_ERROR) -> bytes:
    """The first `most` bytes of an answer, decoded."""
    read = bytearray()
    async for data in response.aiter_bytes():
        read += data
        if len(read) >= most:
            break
    return bytes(read[:most])


def refuse_text(response: httpx.Response, provider: str) -> None:
    """BrokenAudio where a successful answer says itself that it is text: an error page, or an error in JSON."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in ("application/json", "application/problem+json", "application/xml"):
        raise BrokenAudio(
            f"'{provider}' answered with {kind} in place of audio.", provider=provider, remedy="Try again."
        )


def retry_after(headers: httpx.Headers) -> float | None:
    """For how many seconds the upstream asks for patience; None where it does not say."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or told is None:
        return seconds
    try:
        return max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    if value is None or not value.strip().replace(".", "", 1).isdecimal():
        return None
    return float(value)

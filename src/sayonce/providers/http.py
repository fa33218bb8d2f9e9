"""Speaking over HTTP: one pooled client an upstream, its time limits, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from sayonce.errors import BrokenAudio, ProviderTimeout, ProviderUnavailable

# An error's body is read this far, for its code; nobody needs more of it.
LONGEST_ERROR = 16_384
# As much of what an upstream says goes into an error.
_LONGEST_MESSAGE = 300
# So many characters in a row that a message and the text share are a quotation.
_QUOTATION = 16
# Nobody is asked to wait longer, in seconds.
_LONGEST_PATIENCE = 86_400.0
# What a URL may be made of (RFC 3986), a word, and a header's name (RFC 9110).
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_WORD = re.compile(r"[^\W_]+")
_OTHER_WORDS = {"message": ("msg", "err_msg"), "code": ("status", "err_code", "category")}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds: to connect, and to the first byte or the next. `connections` at a time."""

    connect: float = 5.0
    first_byte: float = 30.0
    connections: int = 64


def base_url(url: str) -> str:
    """A base URL without the slash at its end. ValueError where nothing can be asked of it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _URL.fullmatch(url):
        raise ValueError("must be an http or https URL")
    if parts.port == 0:  # one that is out of range is a ValueError already
        raise ValueError("must have a port that can be reached")
    if set("@?#") & set(url):
        raise ValueError("must be an http or https URL without a user, a query or a fragment")
    return url.rstrip("/")


def secret(value: SecretStr) -> SecretStr | None:
    """A key or a header's value as it can be sent, without the line's end that a file leaves; None where it is
    empty. ValueError, which does not tell it, where a header cannot carry it: the driver's own error would."""
    plain = value.get_secret_value().strip()
    if not (plain.isascii() and plain.isprintable()):
        raise ValueError("must be of printable ASCII characters")
    return SecretStr(plain) if plain else None


def header_name(name: str) -> str:
    """A header's name in lower case; ValueError where it is none."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("must have names that a header can have")
    return name.lower()


@cache
def _trusted() -> ssl.SSLContext:
    """Whom to trust: one context for all upstreams, since each reads every authority there is."""
    return httpx.create_ssl_context(trust_env=False)


def client(limits: Limits, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """A client of one upstream's. It follows no redirect, and goes through no proxy that the environment names: a
    key goes where the settings say, nowhere else."""
    return httpx.AsyncClient(
        headers=dict(headers),
        follow_redirects=False,
        trust_env=False,
        verify=_trusted(),
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
        raise _late(provider) from error
    except httpx.RemoteProtocolError as error:
        raise ProviderUnavailable(
            f"'{provider}' ended its answer before it was whole.", provider=provider, remedy="Try again."
        ) from error
    except httpx.HTTPError as error:
        raise _unreachable(provider, error) from error


def _late(provider: str) -> ProviderTimeout:
    return ProviderTimeout(
        f"'{provider}' did not answer in time.", provider=provider, remedy="Try again, or raise its time limits."
    )


def _unreachable(provider: str, error: Exception) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"'{provider}' cannot be reached ({type(error).__name__}).",
        provider=provider,
        remedy="See whether its address is right and it is up.",
    )


async def greeted(url: str, seconds: float, provider: str) -> float | None:
    """Asks the server of `url` for nothing, without any key: whatever it answers within `seconds` will do. What its
    clock says, in seconds since 1970, where it tells that."""
    root = httpx.URL(url).copy_with(raw_path=b"/")
    async with client(Limits(seconds, seconds), {}) as asker, translated(provider):
        answer = await asker.head(root)
    return _moment(answer.headers.get("date"))


async def connected(url: str, seconds: float, provider: str) -> None:
    """Returns where a connection to the server of `url` can be made within `seconds`, safe where it is to be."""
    at = urlsplit(url)
    safe = httpx.create_ssl_context() if at.scheme == "https" else None
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(at.hostname, at.port or (443 if safe else 80), ssl=safe)
    except TimeoutError as error:
        raise _late(provider) from error
    except OSError as error:
        raise _unreachable(provider, error) from error
    writer.transport.abort()


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


def told(raw: bytes) -> Mapping[str, str]:
    """What an error's body says: its `message`, `type`, `param` and `code`, as far as there are such.

    OpenAI sends `{"error": {…}}`; servers of its dialect `{"error": "…"}`, or FastAPI's `{"detail": …}` with a
    text, an object or a list of objects in it, as ElevenLabs and Replicate do; Deepgram `{"err_code", "err_msg"}`.
    """
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):  # no JSON, or JSON that nests deeper than anyone means
        return {}
    if isinstance(said, dict):
        said = said.get("error") or said.get("detail") or said
    if isinstance(said, list):
        said = said[0] if said else {}
    if not isinstance(said, dict):
        return {"message": said} if isinstance(said, str) else {}
    return _in_one_tongue({key: str(value) for key, value in said.items() if isinstance(value, str | int)})


def _in_one_tongue(said: dict[str, str]) -> Mapping[str, str]:
    for word, others in _OTHER_WORDS.items():
        found = next((said[other] for other in (word, *others) if other in said), None)
        if found is not None:
            said[word] = found
    return said


def unquoted(message: str, text: str) -> str:
    """The message on one short line; nothing where it quotes the text, which belongs in no error (law 8)."""
    line = " ".join("".join(char if char.isprintable() else " " for char in message).split())
    return "" if _quotes(line, text) else line[:_LONGEST_MESSAGE].strip()


def _quotes(line: str, text: str) -> bool:
    said, spoken = _words(line), _words(text)
    if not spoken.strip():  # no letter in it: emoji, say
        return text.strip() in line
    run = min(_QUOTATION, len(spoken))
    return not _runs(said, run).isdisjoint(_runs(spoken, run))


def _words(text: str) -> str:
    """Its words alone: what a quotation keeps, whatever becomes of case, punctuation and escapes."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _runs(text: str, length: int) -> set[str]:
    return {text[at : at + length] for at in range(len(text) - length + 1)}


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
    seconds = _seconds(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_PATIENCE)


def _seconds(told: str | None) -> float | None:
    """`Retry-After`'s two forms: a number, or a date."""
    number = _number(told)
    if number is not None or told is None:
        return number
    moment = _moment(told)
    return None if moment is None else moment - time.time()


def _moment(told: str | None) -> float | None:
    """A header's date, in seconds since 1970."""
    try:
        return None if told is None else parsedate_to_datetime(told).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value: str | None) -> float | None:
    if value is None or not value.strip().replace(".", "", 1).isdecimal():
        return None
    return float(value)

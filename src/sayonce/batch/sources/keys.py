"""Audio in a Redis: raw blobs, a key each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from sayonce.batch.pieces import SAID
from sayonce.batch.rows import opened
from sayonce.batch.sources.contract import Piece, Source, too_large
from sayonce.batch.sources.folder import mapped
from sayonce.errors import InvalidRequest, MissingExtra

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError, ResponseError
except ImportError as error:
    raise MissingExtra("Redis", extra="redis") from error

# How long an answer is waited for, in seconds; how many keys Redis looks at before it answers.
_PATIENCE, _LOOKED_AT = 30.0, 500
_FIELD = re.compile(r"\{([a-z_]+)\}")


class RedisKeys(Source):
    """The keys at `url` that a pattern matches, which says in braces what they tell: `tts:{voice}:{text}`; or those
    that a manifest names as `key`. They are found by SCAN, which keeps nobody else waiting."""

    def __init__(
        self, url: str, match: str | None, manifest: Path | None, columns: Mapping[str, str], most: int
    ) -> None:
        if (match is None) == (manifest is None):
            raise InvalidRequest(
                "It is not said what the keys hold.",
                param="match",
                remedy="Give --match 'tts:{voice}:{text}', or a --manifest whose rows name each `key` and its text.",
            )
        self._rows = None if manifest is None else opened(manifest)
        self._pattern = None if match is None else _Pattern(match)
        self._columns = columns
        self._most = most
        self.head = {} if self._rows is None else self._rows.head
        try:
            self._redis: Any = Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)
        except ValueError:
            raise InvalidRequest("The address of Redis cannot be read.", param="source") from None

    async def pieces(self) -> AsyncIterator[Piece]:
        try:
            if self._rows is not None:
                rows = iter(self._rows)
                while (row := await asyncio.to_thread(next, rows, None)) is not None:
                    fields = mapped(row.fields, self._columns)
                    yield self._piece(row.place, fields.get("key"), fields)
            elif self._pattern is not None:
                number = 0
                async for key in self._redis.scan_iter(self._pattern.glob, count=_LOOKED_AT):
                    number += 1
                    yield self._found(self._pattern, key, f"key {number}")
        except (RedisError, OSError) as error:
            raise InvalidRequest(
                f"Redis does not answer ({type(error).__name__}).", param="source", remedy="See to its address."
            ) from None

    async def aclose(self) -> None:
        await self._redis.aclose()

    def _found(self, pattern: _Pattern, key: bytes, place: str) -> Piece:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            return self._piece(place, None, {})
        fields = pattern.fields(name)
        return self._piece(place + _shown(fields), name, fields)

    def _piece(self, place: str, key: object, fields: Mapping[str, object]) -> Piece:
        async def read() -> bytes:
            if not isinstance(key, str) or not key:
                raise InvalidRequest("it names no key", param="key")
            return await self._read(key)

        return Piece(place, fields, read)

    async def _read(self, key: str) -> bytes:
        try:
            size = await self._redis.strlen(key)
            if size > self._most:
                raise too_large(size, self._most)
            data: bytes | None = await self._redis.get(key)
        except ResponseError as error:
            raise InvalidRequest("its key holds no bytes", param="key") from error
        if data is None:
            raise InvalidRequest("there is no such key", param="key")
        return data


class _Pattern:
    """What keys look like: `tts:{voice}:{text}`."""

    def __init__(self, told: str) -> None:
        names = _FIELD.findall(told)
        unknown = {*names} - SAID
        if unknown or len({*names}) < len(names) or "text" not in names:
            raise InvalidRequest(
                f"There is nothing called '{min(unknown)}'." if unknown else "The pattern must name {text}, once.",
                param="match",
                remedy="Write --match 'tts:{voice}:{text}', or give a --manifest that names each `key`.",
            )
        parts = _FIELD.split(told)
        self.glob = "".join("*" if n % 2 else _plain(part) for n, part in enumerate(parts))
        # The last one takes all that is left: a text may have in it what stands between.
        last = len(parts) - 2
        self._keys = re.compile("".join(_group(part, n, last) for n, part in enumerate(parts)), re.DOTALL)

    def fields(self, key: str) -> Mapping[str, str]:
        """What a key tells."""
        found = self._keys.fullmatch(key)
        return {} if found is None else found.groupdict()


def _shown(fields: Mapping[str, str]) -> str:
    """How people find a key again, without its text."""
    told = [f"{name} {value}" for name, value in fields.items() if name != "text"]
    told.append(f"{len(fields.get('text', ''))} characters of text")
    return f" ({', '.join(told)})"


def _group(part: str, n: int, last: int) -> str:
    if n % 2 == 0:
        return re.escape(part)
    return f"(?P<{part}>{'.+' if n == last else '.+?'})"


def _plain(part: str) -> str:
    return re.sub(r"([\\*?\[\]^])", r"\\\1", part)

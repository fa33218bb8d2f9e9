"""What the storages behind a network share.

Paths under a prefix, metadata in a sidecar that is written first where the backend has no room for it, a deadline for
each call, and tries with jitter of what is transient, and of that alone. A subclass says how its backend puts, gets,
removes and lists, and what its errors mean.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import stamina

from sayonce.errors import BlobNotFound, StorageError, StorageMisconfigured, StorageUnavailable
from sayonce.storage.contract import PLAIN, Serving, Storage, StoredBlob
from sayonce.storage.paths import validated

T = TypeVar("T")

_SIDECAR = ".meta.json"
_PROBE = ".sayonce-probe-"
# Tries of one call, and the first pause between them in seconds; it doubles, with jitter.
_ATTEMPTS, _FIRST_PAUSE = 3, 0.1


@dataclass(frozen=True, slots=True)
class Reach:
    """Where in its backend a storage is, and how long it is waited for. `prefix` is empty or ends in a slash;
    `timeout` is in seconds, of one try."""

    place: str  # for people: s3://bucket/prefix
    prefix: str = ""
    timeout: float = 10.0


class RemoteStorage(Storage):
    """`reach` tells where its blobs are."""

    def __init__(self, name: str, reach: Reach) -> None:
        self.name = name
        self.reach = reach

    # ── what a backend does ──────────────────────────────────────────────────────────────────────
    # Keys are whole: prefix and path. Each call is one try.

    @abstractmethod
    async def _put(self, key: str, data: bytes, serving: Serving, metadata: Mapping[str, str]) -> None:
        """Puts the object at `key`, whole or not at all. `metadata` is empty where it does not fit."""

    @abstractmethod
    async def _get(self, key: str) -> bytes:
        """The object's bytes."""

    @abstractmethod
    async def _remove(self, keys: Sequence[str]) -> None:
        """Removes objects; one that is not there is no error."""

    @abstractmethod
    def _list(self, prefix: str) -> AsyncIterator[Sequence[StoredBlob]]:
        """The objects whose key begins with `prefix`, in the order of their keys, a page at a time; their paths are
        their keys."""

    @abstractmethod
    def _meaning(self, error: Exception) -> StorageError | None:
        """What one of the backend's errors means: the one translation table. None where it is none of the
        backend's."""

    def _fits(self, metadata: Mapping[str, str]) -> bool:
        """Whether the backend keeps this metadata itself, beside the object."""
        return False

    async def _told(self, key: str) -> Mapping[str, str]:
        """The metadata that the backend keeps; empty where that lies in a sidecar. Fails where there is no object."""
        await self._get(key)
        return {}

    async def _address(self, key: str, seconds: float) -> str | None:
        """An address for whoever has it."""
        return None

    # ── the contract ─────────────────────────────────────────────────────────────────────────────

    async def write(self, path: str, data: bytes, metadata: Mapping[str, str], serving: Serving = PLAIN) -> None:
        key = self._key(path)
        fits = self._fits(metadata)
        if not fits:
            beside = json.dumps(dict(metadata)).encode()
            await self._try(lambda: self._put(key + _SIDECAR, beside, Serving("application/json"), {}))
        await self._try(lambda: self._put(key, data, serving, metadata if fits else {}))

    async def read(self, path: str) -> bytes:
        key = self._key(path)
        return await self._try(lambda: self._get(key))

    async def metadata(self, path: str) -> Mapping[str, str]:
        key = self._key(path)
        told = await self._try(lambda: self._told(key))
        if told:
            return told
        data = await self._try(lambda: self._get(key + _SIDECAR))
        try:
            beside: dict[str, str] = json.loads(data)
        except ValueError as error:
            raise self.unavailable("gives something else than was written") from error
        return beside

    async def delete(self, path: str) -> None:
        key = self._key(path)
        await self._try(lambda: self._remove([key, key + _SIDECAR]))

    async def list(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        pages = self._list(self.reach.prefix + prefix)
        while page := await self._next(pages):
            for found in page:
                path = found.path.removeprefix(self.reach.prefix)
                if not path.endswith(_SIDECAR) and not path.startswith(_PROBE):
                    yield StoredBlob(path, found.size, found.modified)

    async def probe(self) -> None:
        key = self.reach.prefix + _PROBE + secrets.token_hex(8)
        await self._try(lambda: self._put(key, b"sayonce", PLAIN, {}))
        try:
            await self._try(lambda: self._get(key))
        except BlobNotFound as error:
            raise StorageUnavailable(
                f"{self.reach.place} does not give back what was just written to it.",
                backend=self.backend,
                remedy="See that nothing between removes or hides new objects.",
            ) from error
        finally:
            await self._try(lambda: self._remove([key]))

    async def url(self, path: str, seconds: float) -> str | None:
        key = self._key(path)
        return await self._try(lambda: self._address(key, seconds))

    # ── one call ─────────────────────────────────────────────────────────────────────────────────

    def _key(self, path: str) -> str:
        try:
            validated(path)
        except ValueError as error:
            raise StorageError(f"That is no path of a blob: {error}.", backend=self.backend) from error
        if path.endswith(_SIDECAR) or path.startswith(_PROBE):
            raise StorageError("That path is one of the storage's own.", backend=self.backend)
        return self.reach.prefix + path

    async def _next(self, pages: AsyncIterator[Sequence[StoredBlob]]) -> Sequence[StoredBlob]:
        """The next page that has anything in it; empty at the end. A listing that broke off is not taken up again."""
        while True:
            try:
                page = await self._once(lambda: anext(pages))
            except StopAsyncIteration:
                return ()
            if page:
                return page

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call gives, tried again where the backend's trouble may pass."""
        async for attempt in stamina.retry_context(
            on=_passes, attempts=_ATTEMPTS, wait_initial=_FIRST_PAUSE, wait_max=2.0, wait_jitter=_FIRST_PAUSE
        ):
            with attempt:
                return await self._once(call)
        raise AssertionError("the last attempt raises")

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.reach.timeout):
                return await call()
        except (StorageError, StopAsyncIteration):
            raise
        except TimeoutError as error:
            raise self.unavailable(f"did not answer within {self.reach.timeout:g} seconds") from error
        except Exception as error:
            meaning = self._meaning(error)
            if meaning is None:
                raise
            raise meaning from error

    # ── what errors say ──────────────────────────────────────────────────────────────────────────

    def missing(self) -> BlobNotFound:
        """A definite answer: there is no such object."""
        return BlobNotFound(
            f"The blob is not in {self.reach.place}.", backend=self.backend, remedy="It is made anew."
        )

    def unavailable(self, what: str) -> StorageUnavailable:
        """Trouble that may pass; `what` completes a sentence that begins with the place."""
        return StorageUnavailable(
            f"{self.reach.place} {what}.", backend=self.backend, remedy="It is tried again by itself."
        )

    def misconfigured(self, what: str, remedy: str) -> StorageMisconfigured:
        """Trouble that lasts until somebody changes something."""
        return StorageMisconfigured(f"{self.reach.place} {what}.", backend=self.backend, remedy=remedy)


def _passes(error: Exception) -> bool:
    return isinstance(error, StorageUnavailable) and error.retryable


def prefix_of(path: str) -> str:
    """A URL's path as a prefix: without the slash that it begins with, ending in one unless it is empty. ValueError
    where blobs could not lie under it."""
    path = path.strip("/")
    return validated(path) + "/" if path else ""

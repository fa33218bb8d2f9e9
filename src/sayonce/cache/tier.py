"""A tier of its own time to live, in front of the permanent storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sayonce.cache.orders import Clip
from sayonce.catalog.records import Asset, Blob
from sayonce.errors import StorageError
from sayonce.storage.contract import Serving, Storage
from sayonce.telemetry.logs import get_logger

# How many assets at most are put into it again in one batch.
_MOST = 500

_log = get_logger("sayonce.tier")


class Tier:
    """`storage` holds copies for `keep` seconds; with `sliding`, for so long after each use. `clock` gives seconds
    since 1970."""

    def __init__(self, storage: Storage, keep: float, clock: Callable[[], float], *, sliding: bool) -> None:
        self.name = storage.name
        self._storage = storage
        self._keep = keep
        self._clock = clock
        self._sliding = sliding
        self._missed: dict[bytes, Asset] = {}

    @property
    def slides(self) -> Mapping[str, float]:
        """For how many seconds more what was used is held there, by the storage's name."""
        return {self.name: self._keep} if self._sliding else {}

    async def put(self, path: str, clip: Clip, metadata: Mapping[str, str], serving: Serving) -> tuple[Blob, ...]:
        """The copy that was put there; none where it could not be, which costs nothing but time later."""
        until = self._clock() + self._keep
        try:
            await self._storage.write(path, clip.data, metadata, serving)
        except StorageError as error:
            _log.warning("tier.unwritten", storage=self.name, error=error.code)
            return ()
        return (Blob(self.name, path, clip.asset.digest, until),)

    def in_order(self, blobs: Iterable[Blob]) -> list[Blob]:
        """The copies whose time is not over, this tier's first."""
        now = self._clock()
        living = [blob for blob in blobs if blob.until is None or now < blob.until]
        return sorted(living, key=lambda blob: blob.storage != self.name)

    def read(self, asset: Asset, blob: Blob) -> None:
        """Notes what was read, to be put here again where it was read from behind."""
        if blob.storage != self.name and len(self._missed) < _MOST:
            self._missed[asset.content_hash] = asset

    def missed(self) -> list[Asset]:
        """What was read from behind it since this was last asked."""
        missed, self._missed = self._missed, {}
        return list(missed.values())

"""The hot tier: audio in memory, bounded by bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from moka_py import Moka

from sayonce.cache.orders import Clip

# What an entry costs besides its audio: its asset's row and the keys, measured with tracemalloc.
_ENTRY = 2_500


class HotTier:
    """Clips by content hash, `capacity` bytes of them. TinyLFU decides who stays, so that a scan of texts asked
    for once does not drive out those asked for often."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: Rises whenever something is forgotten. Who looked something up before must not remember it after.
        self.epoch = 0
        #: Whether nobody tells any more what is to be forgotten.
        self.stale: Callable[[], bool] = lambda: False
        self._variants: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._clips: Moka[bytes, Clip] = Moka(
            capacity,
            weigher=lambda _, clip: len(clip.data) + _ENTRY,
            eviction_listener=self._evicted,
        )

    def get(self, content_hash: bytes) -> Clip | None:
        """The living clip of that name."""
        clip = self._clips.get(content_hash)
        if clip is not None and not clip.asset.lives(self._clock()):
            self.forget(content_hash)
            return None
        return clip

    def put(self, clip: Clip, epoch: int) -> None:
        """Remembers a clip, in place of what was remembered under its name; unless something was forgotten since
        `epoch`, when the clip was looked up or landed: it might be what was to be forgotten."""
        if epoch != self.epoch:
            return
        asset = clip.asset
        self._variants[asset.recipe_hash].add(asset.content_hash)
        self._clips.set(asset.content_hash, clip)

    def forget(self, content_hash: bytes) -> None:
        """Drops the clip of that name, if there is one."""
        self.epoch += 1
        self._clips.remove(content_hash)

    def forget_recipe(self, recipe_hash: bytes) -> None:
        """Drops every format of a recipe."""
        self.epoch += 1
        for content_hash in tuple(self._variants.get(recipe_hash, ())):
            self.forget(content_hash)

    def clear(self) -> None:
        """Drops all."""
        self.epoch += 1
        self._clips.clear()
        self._variants.clear()

    @property
    def entries(self) -> int:
        """How many clips there are, about."""
        return self._clips.count()

    @property
    def weight(self) -> int:
        """How many bytes they take, about."""
        return self._clips.weighted_size()

    def _evicted(self, content_hash: bytes, clip: Clip, cause: str) -> None:
        if cause == "replaced":
            return
        variants = self._variants.get(clip.asset.recipe_hash)
        if variants is not None:
            variants.discard(content_hash)
            if not variants:
                del self._variants[clip.asset.recipe_hash]

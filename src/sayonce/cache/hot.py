"""The hot tier: audio in memory, bounded by bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from moka_py import Moka

from sayonce.cache.orders import Clip

# What an entry costs besides its audio: its asset's row and the keys, measured with tracemalloc.
_ENTRY = 2_500
# How many names it notes as forgotten. What was looked up before the first of them is not remembered at all.
_NOTED = 10_000


def weight_of(size: int) -> int:
    """What an entry of so many bytes of audio costs."""
    return size + _ENTRY


class HotTier:
    """Clips by content hash, `capacity` bytes of them. TinyLFU decides who stays, so that a scan of texts asked
    for once does not drive out those asked for often."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: Rises whenever something is forgotten. Who looked that up before must not remember it after.
        self.epoch = 0
        # When what was forgotten, by content or recipe hash, the latest last; since when all of it is noted.
        self._forgotten: dict[bytes, int] = {}
        self._noted_since = 0
        #: Whether nobody tells any more what is to be forgotten.
        self.stale: Callable[[], bool] = lambda: False
        self._variants: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._clips: Moka[bytes, Clip] = Moka(
            capacity,
            weigher=lambda _, clip: weight_of(len(clip.data)),
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
        """Remembers a clip, in place of what was remembered under its name; unless that, or its recipe, was forgotten
        since `epoch`, when the clip was looked up or landed: it might be what was to be forgotten."""
        if self.is_stale(clip, epoch):
            return
        asset = clip.asset
        self._variants[asset.recipe_hash].add(asset.content_hash)
        self._clips.set(asset.content_hash, clip)

    def is_stale(self, clip: Clip, epoch: int) -> bool:
        """Whether it, or its recipe, was forgotten since `epoch`, or that cannot be told any more."""
        names = clip.asset.content_hash, clip.asset.recipe_hash
        return max(self._noted_since, *(self._forgotten.get(name, 0) for name in names)) > epoch

    def forget(self, content_hash: bytes) -> None:
        """Drops the clip of that name, if there is one."""
        self._note(content_hash)
        self._clips.remove(content_hash)

    def forget_recipe(self, recipe_hash: bytes) -> None:
        """Drops every format of a recipe."""
        self._note(recipe_hash)
        for content_hash in tuple(self._variants.get(recipe_hash, ())):
            self.forget(content_hash)

    def clear(self) -> None:
        """Drops all."""
        self.epoch += 1
        self._noted_since = self.epoch
        self._forgotten.clear()
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

    def _note(self, name: bytes) -> None:
        self.epoch += 1
        self._forgotten.pop(name, None)
        self._forgotten[name] = self.epoch
        if len(self._forgotten) > _NOTED:
            self._noted_since = self._forgotten.pop(next(iter(self._forgotten)))

    def _evicted(self, content_hash: bytes, clip: Clip, cause: str) -> None:
        if cause == "replaced":
            return
        variants = self._variants.get(clip.asset.recipe_hash)
        if variants is not None:
            variants.discard(content_hash)
            if not variants:
                del self._variants[clip.asset.recipe_hash]

"""What is in memory alone, since a part of the cache was away when it was spoken or heard; to be kept when it is
back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sayonce.cache.hot import HotTier
from sayonce.cache.orders import Clip, Order, Steering

# How many are kept by themselves when all is well again; further ones are when they are asked for.
_MOST = 1_000


class Unkept:
    """Clips in the hot tier that rest nowhere else, and the orders that will have them kept."""

    def __init__(self, hot: HotTier) -> None:
        self._hot = hot
        self._orders: dict[bytes, Order] = {}

    def remember(self, order: Order, clip: Clip, epoch: int) -> None:
        """Remembers a clip, unless it was forgotten since `epoch`."""
        self._hot.put(clip, epoch)
        if len(self._orders) < _MOST:
            self._orders[order.content_hash] = replace(order, steering=Steering())

    def recall(self, order: Order) -> Clip | None:
        """What need not be spoken again to be kept."""
        return None if order.steering.no_cache else self._hot.get(order.content_hash)

    def orders(self) -> Sequence[Order]:
        """Those whose clips still rest nowhere, the oldest first."""
        self._orders = {name: order for name, order in self._orders.items() if self._waits(name)}
        return list(self._orders.values())

    def _waits(self, content_hash: bytes) -> bool:
        clip = self._hot.get(content_hash)
        return clip is not None and not clip.kept

"""What the engine is given, and the audio that it handles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

from sayonce.catalog.records import MICROS, WISHED, Asset, Use
from sayonce.errors import ProviderError
from sayonce.providers.breaker import Breaker
from sayonce.providers.contract import Provider
from sayonce.speech.cleaning import Cleaner
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe


class Outcome(StrEnum):
    """Where audio came from, as `X-TTS-Cache` says it."""

    HIT = "hit"  # it was kept
    JOINED = "joined"  # somebody else's generation
    MISS = "miss"  # a generation of its own
    BYPASS = "bypass"  # the cache was in trouble and was gone around
    DISABLED = "disabled"  # nothing was to be kept


@dataclass(frozen=True, slots=True)
class Retention:
    """How long something is kept: so many seconds, or forever (None); `sliding` is after its last use, instead of
    after it was made."""

    seconds: float | None = None
    sliding: bool = False


@dataclass(frozen=True, slots=True)
class Steering:
    """How a request steers the cache, in HTTP's own words."""

    no_store: bool = False  # speak it, keep nothing
    no_cache: bool = False  # speak it anew, replace what is kept once whole
    only_if_cached: bool = False  # from what is kept, or not at all
    keep: Retention | None = None  # for how long what it has spoken is kept; None: as usual
    wished: bool = False  # kept for the uses that wish for it, and for no further one


@dataclass(frozen=True, slots=True)
class Placement:
    """A place of its own for what is kept: the path in the storage that an asset has there, and the use that it is
    kept for."""

    path_of: Callable[[Asset], str]
    use: Use


@dataclass(frozen=True)
class Order:
    """One request, ready for the engine: what to say, who says it, in which format, how to treat the cache.

    `breaker` tells whether its provider is to be asked now.
    """

    provider: Provider
    recipe: Recipe
    format: AudioFormat
    breaker: Breaker
    steering: Steering = Steering()
    keep: Retention = Retention()
    #: Who cleans the text before it is spoken; None where it is spoken as the recipe has it.
    cleaner: Cleaner | None = None
    #: Where it is kept, and why, if not at the usual place as any request.
    placement: Placement | None = None
    #: What a dollar is in the settings' currency.
    usd_rate: float = 1.0

    def price(self, recipe: Recipe) -> int | None:
        """What saying a recipe costs, in millionths of the currency; None where no price is known."""
        usd = self.provider.price(recipe)
        return None if usd is None else round(usd * self.usd_rate * MICROS)

    def use(self, now: float) -> Use:
        """Why it is kept, and for how long, if it is made now."""
        usual = Use(WISHED if self.steering.wished else "request")
        use, seconds = usual if self.placement is None else self.placement.use, self.keep.seconds
        until = None if seconds is None else now + seconds
        return replace(use, keep_until=until, sliding=seconds if self.keep.sliding else None)

    @cached_property
    def content_hash(self) -> bytes:
        """The name of the asset that is asked for."""
        return self.recipe.content_hash(self.format)


# One of a chain: an order, or why that provider cannot speak this.
Link: TypeAlias = Order | ProviderError


@dataclass(frozen=True, slots=True)
class Chain:
    """A request's orders: of who is to speak, and of those who speak in its place, made only when it comes to that.
    There are `length` at most; the first byte is to come within `patience` seconds."""

    first: Order
    others: Callable[[], Iterator[Link]]
    length: int
    patience: float

    def __iter__(self) -> Iterator[Link]:
        yield self.first
        yield from self.others()

    def only(self, objection: Callable[[Order], ProviderError | None]) -> Chain:
        """The same, but for substitutes that there is an objection to."""
        return replace(
            self,
            others=lambda: ((objection(link) or link) if isinstance(link, Order) else link for link in self.others()),
        )

    def at(self, placement: Placement, keep: Retention | None = None) -> Chain:
        """The same, kept at a place of its own, whoever speaks; for so long, or else as usual."""

        def placed(order: Order) -> Order:
            return replace(order, placement=placement, keep=keep or order.keep)

        return replace(
            self,
            first=placed(self.first),
            others=lambda: (placed(link) if isinstance(link, Order) else link for link in self.others()),
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """An asset with its bytes. One whose row has no blobs is in memory only: it could not be kept, or was not to
    be."""

    asset: Asset
    data: bytes

    @property
    def kept(self) -> bool:
        """Whether it rests in storage."""
        return bool(self.asset.blobs)

"""Who speaks: the one contract that every vendor and every local engine is behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar

from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.requests import Upstream


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of an upstream. `id` is what a request's `voice` says; `languages` are BCP 47 tags."""

    id: str
    name: str
    languages: tuple[str, ...] = ()
    gender: str | None = None


@dataclass(frozen=True, slots=True)
class SpeechStream:
    """What is being said: its format as it really comes (with the true rate, where it is raw) and its chunks.

    `chunks` is read once, by one reader. It ends when all has come; whatever else happens is a ProviderError.
    """

    format: AudioFormat
    chunks: AsyncIterator[Chunk]


class Provider(ABC):
    """One configured upstream. Many requests may run at once; whatever blocks runs off the event loop."""

    #: The registry's name for this kind of provider.
    name: ClassVar[str]

    #: Its configured name, identity and defaults.
    upstream: Upstream

    #: The most characters it takes in one request; None where it sets no limit.
    max_characters: int | None = None

    #: Whether it keeps nothing of what it is sent, and learns nothing from it, as far as it says so.
    discreet: bool = False

    #: Whether it tells when what is said: its chunks carry marks.
    timed: bool = False

    #: Whether OpenAI's models mean nothing to it: whoever must name one, as OpenAI's clients must, has named none.
    foreign_to_openai: ClassVar[bool] = True

    #: Whether it answers to other vendors' names only until they are there.
    stands_in: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def from_settings(cls, name: str, table: Mapping[str, object]) -> Provider:
        """The upstream of a settings table (`provider` left out). InvalidSettings where a setting is wrong,
        MissingExtra where what it needs is not installed."""

    @abstractmethod
    def check(self, recipe: Recipe) -> Recipe:
        """The recipe as this upstream will speak it: fields that do not alter its sound are dropped, aliases are
        kept as they are. Never waits. UnknownVoice (naming near ones), UnknownModel, InvalidRequest (speed out of
        range, unknown option, …) or TextTooLong where it is known beforehand that it cannot be spoken.
        Idempotent."""

    @abstractmethod
    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        """`wanted` where it can be had from the upstream itself, else the best lossless one (or the only one) that
        can. Never waits."""

    @abstractmethod
    def speak(self, recipe: Recipe, native: AudioFormat) -> AbstractAsyncContextManager[SpeechStream]:
        """Says it. Entering sends the request and waits until the upstream has accepted it; the first byte may be
        later. Leaving early, or being cancelled, ends the upstream's work and frees what it held. It tries once:
        retrying is the caller's.

        `recipe` has been through `check`, `native` comes from `native_format`. A stream that was cut short ends in
        ProviderUnavailable or BrokenAudio, never as if it were whole."""

    @abstractmethod
    async def voices(self) -> Sequence[Voice] | None:
        """The voices there are, in a stable order; None where the upstream cannot tell."""

    def has_voice(self, voice: str) -> bool:
        """Whether it is known to have that voice, or one that stands for it. Never waits."""
        return False

    @abstractmethod
    def models(self) -> Sequence[str]:
        """The models that it offers; empty where it has no such thing or passes any on."""

    @abstractmethod
    def price(self, recipe: Recipe) -> float | None:
        """What saying it costs, in USD; 0 for a local engine; None where no price is known."""

    async def reach(self) -> float | None:
        """Returns where it can be reached now; ProviderError where not. It is not made to speak, is told no key, and
        bills nothing. What its clock says, in seconds since 1970, where it tells that; None for a local engine."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - most hold nothing
        """Frees all that it holds. Called once, last; running streams end in ProviderUnavailable."""

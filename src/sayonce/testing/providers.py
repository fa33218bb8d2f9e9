"""The contract suite of providers: subclass it, give it yours, and it tests what the contract says."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from sayonce.audio.encode import finalise
from sayonce.audio.formats import is_lossless
from sayonce.audio.probe import probe
from sayonce.errors import InvalidRequest, ProviderError, TextTooLong, UnknownModel, UnknownVoice
from sayonce.providers.contract import Provider
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import SpeechRequest

# Oftener than an upstream should be given connections or workers in the suite, so that one that leaks is found.
_TIMES = 16

# What may be asked for beside a text, so that it differs from what is usual.
OTHER_WAYS: dict[str, Any] = {
    "voice": "another",
    "speed": 1.1,
    "model": "another",
    "language": "de",
    "pitch": 2.0,
    "style": "warm",
    "instructions": "Softly.",
}

TEXT = "Hello there, my friend. How are you today?"


class ProviderContract:
    """Every sentence of `sayonce.providers.contract.Provider`. Its tests are coroutines: pytest-asyncio runs
    them where `asyncio_mode = "auto"`."""

    #: Whether any voice is passed on, also one that the upstream does not list.
    passes_voices_on: ClassVar[bool] = False

    #: A voice that is not its usual one, where it lists none and does not take just any name.
    another_voice: ClassVar[str] = "another"

    @pytest.fixture
    async def provider(self) -> Provider:
        """Yours, which the suite may close."""
        raise NotImplementedError("give the suite a provider")

    def slow_down(self) -> None:
        """Makes what is said next last, where a long text alone does not."""

    def recipe(self, provider: Provider, text: str = TEXT, **manner: Any) -> Recipe:
        """A recipe that the provider can speak."""
        request = SpeechRequest(text=text, **manner)
        return provider.check(recipe_of(request, provider.upstream))

    async def say(self, provider: Provider, recipe: Recipe, wanted: AudioFormat) -> tuple[bytes, AudioFormat]:
        """All that it says, and in which format."""
        async with provider.speak(recipe, provider.native_format(recipe, wanted)) as stream:
            return b"".join([chunk.data async for chunk in stream.chunks]), stream.format

    async def in_another_way(self, provider: Provider, what: str) -> Recipe | None:
        """The recipe of what is asked for in one of the OTHER_WAYS; None where that is refused."""
        way = OTHER_WAYS[what]
        if what == "voice":
            listed = (voice.id for voice in await provider.voices() or ())
            way = next((voice for voice in listed if voice != provider.upstream.voice), self.another_voice)
        try:
            return self.recipe(provider, **{what: way})
        except InvalidRequest:
            return None

    @pytest.mark.parametrize("name", BY_NAME)
    async def test_it_speaks_whole_audio(self, provider: Provider, name: str) -> None:
        audio, native = await self.say(provider, self.recipe(provider), BY_NAME[name])
        assert 0.5 < probe(finalise(audio, native), native).duration < 20

    @pytest.mark.parametrize("name", BY_NAME)
    async def test_it_comes_as_asked_for_or_lossless(self, provider: Provider, name: str) -> None:
        recipe, wanted = self.recipe(provider), BY_NAME[name]
        native = provider.native_format(recipe, wanted)
        only = {provider.native_format(recipe, other) for other in BY_NAME.values()} == {native}
        assert native.satisfies(wanted) or is_lossless(native) or only
        async with provider.speak(recipe, native) as stream:
            assert (stream.format.codec, stream.format.container) == (native.codec, native.container)

    async def test_every_word_is_heard(self, provider: Provider) -> None:
        texts = [TEXT, TEXT.replace("Hello", "Jolly"), TEXT.replace("today", "madam")]
        said = [(await self.say(provider, self.recipe(provider, text), BY_NAME["wav"]))[0] for text in texts]
        assert len({*said}) == len(texts), "texts that differ in their first or last word sound the same"

    @pytest.mark.parametrize("what", OTHER_WAYS)
    async def test_another_recipe_sounds_different(self, provider: Provider, what: str) -> None:
        plain, other = self.recipe(provider), await self.in_another_way(provider, what)
        if other is not None and other.hash != plain.hash:
            said = [(await self.say(provider, recipe, BY_NAME["wav"]))[0] for recipe in (plain, other)]
            assert said[0] != said[1], f"{what!r} is in the recipe, yet not heard: send it, or drop it in check()"

    async def test_many_at_once(self, provider: Provider) -> None:
        said = await asyncio.gather(
            *(self.say(provider, self.recipe(provider, f"Number {n}."), BY_NAME["wav"]) for n in range(12))
        )
        assert all(len(audio) > 1_000 for audio, _ in said)

    async def test_checking_is_idempotent(self, provider: Provider) -> None:
        recipe = self.recipe(provider)
        assert provider.check(recipe) == recipe

    async def test_checking_makes_one_recipe_of_what_sounds_the_same(self, provider: Provider) -> None:
        assert self.recipe(provider, speed=1).hash == self.recipe(provider, speed=1.0, pitch=0.0, options={}).hash

    async def test_a_text_that_is_too_long_is_refused_beforehand(self, provider: Provider) -> None:
        most = provider.max_characters
        if most is not None:
            assert self.recipe(provider, "a" * most)
            with pytest.raises(TextTooLong):
                self.recipe(provider, "a" * (most + 1))

    async def test_a_model_that_is_not_offered_is_refused_beforehand(self, provider: Provider) -> None:
        if provider.models():
            with pytest.raises(UnknownModel):
                self.recipe(provider, model=provider.models()[0] + "-x")

    async def test_its_voices_keep_their_order(self, provider: Provider) -> None:
        assert await provider.voices() == await provider.voices()

    async def test_leaving_early_frees_it(self, provider: Provider) -> None:
        recipe = self.recipe(provider, "A rather long text, said again and again. " * 20)
        for _ in range(_TIMES):
            async with provider.speak(recipe, provider.native_format(recipe, BY_NAME["mp3"])) as stream:
                await anext(stream.chunks)
        audio, native = await self.say(provider, self.recipe(provider), BY_NAME["mp3"])
        assert probe(finalise(audio, native), native).duration > 0.5

    async def test_being_cancelled_frees_it(self, provider: Provider) -> None:
        long = self.recipe(provider, "A rather long text, said again and again. " * 20)
        for n in range(_TIMES):
            saying = asyncio.create_task(self.say(provider, long, BY_NAME["mp3"]))
            for _ in range(n):
                await asyncio.sleep(0)
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
        audio, native = await self.say(provider, self.recipe(provider), BY_NAME["mp3"])
        assert probe(finalise(audio, native), native).duration > 0.5

    async def test_an_unknown_voice_names_near_ones(self, provider: Provider) -> None:
        voices = await provider.voices()
        if voices is None or self.passes_voices_on:
            assert self.recipe(provider, voice="anything-goes").voice == "anything-goes"
            return
        with pytest.raises(UnknownVoice, match=voices[0].id):
            self.recipe(provider, voice=voices[0].id + "x")
            pytest.fail("it took a voice that it does not list; set passes_voices_on = True if any is passed on")

    @pytest.mark.parametrize("wrong", [{"speed": 9.0}, {"speed": 0.0}, {"options": {"no_such_option": 1}}])
    async def test_what_cannot_be_spoken_is_refused_beforehand(
        self, provider: Provider, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidRequest):
            self.recipe(provider, **wrong)

    async def test_its_price_is_known_or_not(self, provider: Provider) -> None:
        price = provider.price(self.recipe(provider))
        assert price is None or price >= 0

    async def test_closing_ends_what_runs(self, provider: Provider) -> None:
        self.slow_down()
        longest = min(provider.max_characters or 80_000, 80_000)
        recipe = self.recipe(provider, ("A rather long text, said again and again. " * 2_000)[:longest])
        native = provider.native_format(recipe, BY_NAME["mp3"])
        with pytest.raises(ProviderError):
            async with provider.speak(recipe, native) as stream:
                await anext(stream.chunks)
                await provider.aclose()
                async for _ in stream.chunks:
                    pass

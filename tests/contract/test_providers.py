"""Our providers keep the contract: espeak with its real workers, OpenAI's dialect over a socket."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from sayonce.audio.probe import probe
from sayonce.errors import (
    InvalidRequest,
    InvalidSettings,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TextTooLong,
    UnknownModel,
)
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.providers.openai import identity_of
from sayonce.speech.formats import MP3, PCM, WAV, AudioFormat
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.providers import TEXT, ProviderContract
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until

RAW = AudioFormat("pcm_s16le", "raw", 22_050)


def workers() -> list[psutil.Process]:
    """The espeak workers of this process."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and any("espeak_worker" in part for part in child.cmdline())
    except psutil.NoSuchProcess:
        return False


class TestEspeak(ProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[Provider]:
        provider = registry.make("espeak", "espeak", {"workers": 2})
        yield provider
        await provider.aclose()
        await until(lambda: not workers())

    async def test_words_have_their_times(self, provider: Provider) -> None:
        text = "Héllo 🙂 wörld. And 日本 too."
        recipe = self.recipe(provider, text)
        async with provider.speak(recipe, RAW) as stream:
            marks = [mark async for chunk in stream.chunks for mark in chunk.marks]
        words = [(text[m.first : m.first + m.length], m.start, m.end) for m in marks if m.kind == "word"]
        assert {"Héllo", "wörld", "And", "too"} <= {word for word, _, _ in words}
        assert [start for _, start, _ in words] == sorted(start for _, start, _ in words)
        assert all(end >= start for _, start, end in words)
        sentences = [text[m.first : m.first + m.length].strip() for m in marks if m.kind == "sentence"]
        assert [sentence.rstrip(".") for sentence in sentences] == ["Héllo 🙂 wörld", "And 日本 too"]

    @pytest.mark.parametrize("speed", [0.25, 0.5, 1.5, 2.0, 4.0])
    async def test_speed_is_kept(self, provider: Provider, speed: float) -> None:
        normal, fast = [
            probe((await self.say(provider, self.recipe(provider, speed=s), PCM))[0], RAW).duration
            for s in (1.0, speed)
        ]
        assert fast * speed == pytest.approx(normal, rel=0.25)

    def asked(self, provider: Provider, **manner: Any) -> tuple[Any, ...]:
        """How espeak is asked to sound: its own words for it, without the text."""
        request: dict[str, Any] = provider._request(self.recipe(provider, **manner))  # type: ignore[attr-defined]
        return tuple(value for name, value in sorted(request.items()) if name != "text")

    async def test_each_of_openais_names_sounds_different(self, provider: Provider) -> None:
        voices = [voice.id for voice in await provider.voices() or () if voice.gender]
        assert {"alloy", "nova", "onyx", "shimmer", "echo", "fable"} <= set(voices)
        models = [model for model in provider.models() if model != "tts-1"]  # which is the voice as it is
        manners = [{"voice": v} for v in voices] + [{"voice": "nova", "model": m} for m in models]
        assert len({self.asked(provider, **manner) for manner in manners}) == len(manners)

    async def test_variants_are_found_whatever_their_case(self, provider: Provider) -> None:
        asked = [self.asked(provider, voice=voice) for voice in ("en-us", "en-us+alex", "en-us+Alex", "en-us+f3")]
        assert asked[1] == asked[2]
        assert "en-US+Alex" in asked[1]
        assert len(set(asked)) == 3

    async def test_every_voice_and_language_speaks(self, provider: Provider) -> None:
        known = [voice.id for voice in await provider.voices() or ()]
        assert {"en-gb", "fr-fr", "en", "fr", "de", "no", "es-mx"} <= set(known)
        silent = []
        for voice in known:
            try:
                await self.say(provider, self.recipe(provider, "a e i o 1 2 3", voice=voice), PCM)
            except ProviderError:
                silent.append(voice)
        assert silent == []
        for language in ("en", "en-GB", "fr", "zh-CN", "no", "en-AU", "fr-CA"):
            assert (await self.say(provider, self.recipe(provider, "a e i o 1 2 3", language=language), PCM))[0]

    @pytest.mark.parametrize("text", ["555 0123 4567 " * 60, "1234567 " * 40, "B C D F G H J K L M " * 20])
    async def test_no_word_of_a_long_clause_is_left_out(self, provider: Provider, text: str) -> None:
        recipe = self.recipe(provider, text)
        async with provider.speak(recipe, RAW) as stream:
            marks = [mark async for chunk in stream.chunks for mark in chunk.marks if mark.kind == "word"]
        said = {place for mark in marks for place in range(mark.first, mark.first + mark.length)}
        at, lost = 0, []
        for word in recipe.text.split(" "):
            if at not in said:
                lost.append(word)
            at += len(word) + 1
        assert lost == []

    async def test_workers_know_no_secret(self, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        await self.say(provider, self.recipe(provider), PCM)
        assert [worker.environ().get("OPENAI_API_KEY") for worker in workers()] == [None]

    async def test_who_waits_for_a_worker_learns_that_it_is_closed(self) -> None:
        provider = registry.make("espeak", "espeak", {"workers": 1})
        long = self.recipe(provider, "word " * 15_000)
        saying = [asyncio.create_task(self.say(provider, long, PCM)) for _ in range(3)]
        await until(workers)
        await provider.aclose()
        failed = await asyncio.gather(*saying, return_exceptions=True)
        assert {type(error) for error in failed} == {ProviderUnavailable}
        await until(lambda: not workers())

    async def test_languages_are_spoken(self, provider: Provider) -> None:
        said = [
            (await self.say(provider, self.recipe(provider, "Guten Morgen", **m), PCM))[0]  # type: ignore[arg-type]
            for m in ({"voice": "nova"}, {"voice": "nova", "language": "de"}, {"voice": "de"}, {"voice": "de+f3"})
        ]
        assert len(set(said)) == 4
        with pytest.raises(InvalidRequest, match="language"):
            self.recipe(provider, language="tlh-xx-zz")

    async def test_markup_is_only_text(self, provider: Provider) -> None:
        plain = len((await self.say(provider, self.recipe(provider, "hello"), PCM))[0])
        for text in ("<break time='30s'/> hello", "[[h@l'oU]] hello", "<speak>hello</speak>"):
            assert len((await self.say(provider, self.recipe(provider, text), PCM))[0]) > plain

    async def test_what_cannot_be_said(self, provider: Provider) -> None:
        with pytest.raises(ProviderRefused, match="Nothing"):
            await self.say(provider, self.recipe(provider, "…!?"), PCM)
        with pytest.raises(UnknownModel, match="tts-1"):
            self.recipe(provider, model="tts-9")
        with pytest.raises(TextTooLong):
            self.recipe(provider, "a" * 100_001)

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
    async def test_a_worker_that_dies_costs_one_request(self, provider: Provider, how: signal.Signals) -> None:
        long = self.recipe(provider, "word " * 15_000)
        with pytest.raises(ProviderUnavailable):
            async with provider.speak(long, RAW) as stream:
                await anext(stream.chunks)
                [speaking] = workers()
                speaking.send_signal(how)
                async for _ in stream.chunks:
                    pass
        assert (await self.say(provider, self.recipe(provider), PCM))[0]
        assert len(workers()) == 1

    async def test_an_idle_worker_that_dies_costs_at_most_one(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider), PCM)
        [idle] = workers()
        idle.kill()
        await until(lambda: not workers())
        failures = 0
        for _ in range(3):
            try:
                await self.say(provider, self.recipe(provider), PCM)
            except ProviderError:
                failures += 1
        assert failures <= 1

    async def test_a_worker_that_hangs_is_replaced(self, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sayonce.providers.espeak._PATIENCE", 0.5)
        await self.say(provider, self.recipe(provider), PCM)
        [hanging] = workers()
        hanging.suspend()
        with pytest.raises(ProviderTimeout):
            await self.say(provider, self.recipe(provider), PCM)
        assert (await self.say(provider, self.recipe(provider), PCM))[0]
        await until(lambda: hanging.pid not in {worker.pid for worker in workers()})

    async def test_nothing_leaks(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider), PCM)
        before = psutil.Process().num_fds()
        long = self.recipe(provider, "word " * 5_000)
        for n in range(60):
            if n % 3:
                await self.say(provider, self.recipe(provider, f"Number {n}."), PCM)
            else:
                async with provider.speak(long, RAW) as stream:
                    await anext(stream.chunks)
        await until(lambda: len(workers()) <= 2)
        assert psutil.Process().num_fds() <= before + 6

    async def test_the_gateways_death_ends_its_workers(self) -> None:
        script = (
            "import asyncio\nfrom sayonce.providers import registry\nfrom sayonce.speech.recipes import recipe_of\n"
            "from sayonce.speech.requests import SpeechRequest\nfrom sayonce.speech.formats import PCM\n"
            "async def main():\n    p = registry.make('espeak', 'espeak', {})\n"
            "    r = p.check(recipe_of(SpeechRequest(text='word ' * 15000), p.upstream))\n"
            "    async with p.speak(r, p.native_format(r, PCM)) as s:\n"
            "        await anext(s.chunks)\n        print('speaking', flush=True)\n"
            "        await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        import sys

        gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
        assert gateway.stdout is not None
        assert await gateway.stdout.readline() == b"speaking\n"
        children = psutil.Process(gateway.pid).children()
        assert children
        os.kill(gateway.pid, signal.SIGKILL)
        await gateway.wait()
        await until(lambda: not any(child.is_running() for child in children))


class TestOpenAI(ProviderContract):
    @pytest.fixture
    async def vendors(self) -> AsyncIterator[tuple[FakeVendors, str]]:
        self.vendors = FakeVendors()
        async with serving(self.vendors) as url:
            yield self.vendors, url

    def slow_down(self) -> None:
        self.vendors.behave(pace=0.05)

    @pytest.fixture
    async def provider(self, vendors: tuple[FakeVendors, str]) -> AsyncIterator[Provider]:
        provider = registry.make("upstream", "openai", {"base_url": f"{vendors[1]}/v1", "api_key": "sk-x"})
        yield provider
        await provider.aclose()

    async def test_what_is_sent(self, provider: Provider, vendors: tuple[FakeVendors, str]) -> None:
        await self.say(provider, self.recipe(provider, " Two  words ", speed=1.5, instructions="Softly."), WAV)
        assert vendors[0].counts.bodies == [
            {
                "model": "tts-1",
                "input": "Two words",
                "voice": "alloy",
                "response_format": "wav",
                "speed": 1.5,
                "instructions": "Softly.",
            }
        ]

    async def test_further_fields_must_be_named(self, vendors: tuple[FakeVendors, str]) -> None:
        table: dict[str, Any] = {"base_url": f"{vendors[1]}/v1", "fields": ["seed", "language"]}
        provider = registry.make("kokoro", "openai", table)
        await self.say(provider, self.recipe(provider, language="de", options={"seed": 7}), MP3)
        assert (vendors[0].counts.bodies[-1]["seed"], vendors[0].counts.bodies[-1]["language"]) == (7, "de")
        with pytest.raises(InvalidRequest, match="seed, language"):
            self.recipe(provider, options={"sed": 7})
        with pytest.raises(InvalidRequest, match="pitch"):
            self.recipe(provider, pitch=2.0)
        await provider.aclose()

    @pytest.mark.parametrize(
        ("how", "wanted", "retryable"),
        [
            ({"status": 500}, ProviderUnavailable, True),
            ({"status": 503}, ProviderUnavailable, True),
            ({"status": 504}, ProviderTimeout, True),
            ({"status": 401}, ProviderMisconfigured, False),
            ({"status": 403}, ProviderMisconfigured, False),
            ({"status": 302, "headers": {"location": "http://127.0.0.1:9/"}}, ProviderMisconfigured, False),
            ({"status": 400}, ProviderRefused, False),
            ({"status": 422}, ProviderRefused, False),
            ({"status": 429}, ProviderRateLimited, True),
            ({"status": 429, "error": {"code": "insufficient_quota"}}, ProviderUnavailable, False),
            ({"trouble": "cut"}, ProviderUnavailable, True),
            ({"trouble": "abort"}, ProviderUnavailable, True),
            ({"trouble": "never"}, ProviderTimeout, True),
        ],
    )
    async def test_its_errors(
        self, vendors: tuple[FakeVendors, str], how: dict[str, Any], wanted: type[ProviderError], retryable: bool
    ) -> None:
        table = {"base_url": f"{vendors[1]}/v1", "first_byte_timeout": 0.5}
        provider = registry.make("upstream", "openai", table)
        vendors[0].behave(**how)
        with pytest.raises(wanted) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert (failed.value.provider, failed.value.retryable) == ("upstream", retryable)
        await provider.aclose()

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "7"}, 7.0),
            ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({}, None),
        ],
    )
    async def test_patience(
        self, provider: Provider, vendors: tuple[FakeVendors, str], headers: dict[str, str], seconds: float | None
    ) -> None:
        vendors[0].behave(status=429, headers=headers)
        with pytest.raises(ProviderRateLimited) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert failed.value.retry_after == seconds

    async def test_nobody_there(self) -> None:
        provider = registry.make("gone", "openai", {"base_url": "http://127.0.0.1:9/v1"})
        with pytest.raises(ProviderUnavailable, match="reached"):
            await self.say(provider, self.recipe(provider), MP3)
        await provider.aclose()

    async def test_no_error_quotes_the_text(self, provider: Provider, vendors: tuple[FakeVendors, str]) -> None:
        vendors[0].behave(status=400, error={"message": f"I will not say: {TEXT}"})
        with pytest.raises(ProviderRefused) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert "friend" not in str(failed.value)

    async def test_native_formats(self, vendors: tuple[FakeVendors, str]) -> None:
        only_mp3 = registry.make("a", "openai", {"formats": ["mp3"]})
        some = registry.make("b", "openai", {"formats": ["mp3", "wav", "flac"]})
        recipe = recipe_of(SpeechRequest(text="Hi."), only_mp3.upstream)
        assert only_mp3.native_format(recipe, WAV) == MP3
        assert (some.native_format(recipe, MP3), some.native_format(recipe, PCM)) == (MP3, WAV)

    def test_prices(self) -> None:
        openai = registry.make("openai", "openai", {"api_key": "x"})
        recipe = recipe_of(SpeechRequest(text="a" * 1_000, model="tts-1-hd"), openai.upstream)
        assert openai.price(recipe) == pytest.approx(0.03)
        elsewhere = registry.make("b", "openai", {"base_url": "http://x/v1"})
        assert elsewhere.price(recipe) is None
        priced = registry.make("c", "openai", {"base_url": "http://x/v1", "price": 2})
        assert priced.price(recipe) == pytest.approx(0.002)


def test_identities() -> None:
    assert identity_of("https://api.openai.com/v1") == "openai:api.openai.com:443/v1"
    assert identity_of("http://localhost:8880/v1/") == "openai:localhost:8880/v1"


@pytest.mark.parametrize(
    "table",
    [
        {"base_url": "ftp://x"},
        {"base_url": "http://user@x/v1"},
        {"formats": ["mp9"]},
        {"price": -1},
        {"colour": "red"},
        {"max_characters": 0},
    ],
)
def test_wrong_settings_are_named(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=f"{next(iter(table))}.*'mine'"):
        registry.make("mine", "openai", table)


def test_an_unknown_provider_names_those_there_are() -> None:
    with pytest.raises(InvalidSettings, match="espeak, openai"):
        registry.make("mine", "nobody", {})

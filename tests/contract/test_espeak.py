"""espeak keeps the contract, with its real workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import psutil
import pytest

from sayonce.audio.probe import probe
from sayonce.errors import (
    InvalidRequest,
    InvalidSettings,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TextTooLong,
    UnknownModel,
)
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.speech.formats import PCM, AudioFormat
from sayonce.testing.providers import ProviderContract
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

    def test_what_sounds_the_same_is_one_recipe(self, provider: Provider) -> None:
        plain = self.recipe(provider, voice="nova")
        assert self.recipe(provider, voice="nova", model="tts-1", language="en-US") == plain
        assert self.recipe(provider, voice="Nova", model="espeak") == plain
        assert self.recipe(provider, voice="nova", model="tts-1-hd") != plain

    async def test_words_have_their_times(self, provider: Provider) -> None:
        text = "Héllo 🙂 wörld. And 日本 too."
        recipe = self.recipe(provider, text)
        async with provider.speak(recipe, RAW) as stream:
            marks = [mark async for chunk in stream.chunks for mark in chunk.marks]
        words = [(text[m.first : m.first + m.length], m.start, m.end) for m in marks if m.kind == "word"]
        assert {"Héllo", "wörld", "And", "too"} <= {word for word, _, _ in words}
        assert [start for _, start, _ in words] == sorted(start for _, start, _ in words)
        assert all(end >= start for _, start, end in words)
        sentences = [text[m.first : m.first + m.length] for m in marks if m.kind == "sentence"]
        assert sentences == ["Héllo 🙂 wörld.", "And 日本 too."]

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

    @pytest.mark.parametrize(
        ("voice", "unit"),
        [
            *(("ja", "か"), ("ja", "漢"), ("de", "ba"), ("ko", "한"), ("ru", "ж"), ("en-us", "7"), ("en-us", "W")),
            *(("en-us", "😀"), ("en-us", "👩\u200d❤️\u200d💋\u200d👨"), ("en-us", "a."), ("en-us", "あ")),
        ],
    )
    async def test_nothing_of_a_text_without_spaces_is_left_out(
        self, provider: Provider, voice: str, unit: str
    ) -> None:
        short, long = [
            probe((await self.say(provider, self.recipe(provider, unit * n, voice=voice), PCM))[0], RAW).duration
            for n in (60, 480)
        ]
        assert long / short > 6  # eight, but that digits are read in groups

    async def test_what_it_leaves_out_all_the_same_is_refused(self, provider: Provider) -> None:
        with pytest.raises(ProviderRefused, match="left words"):
            await self.say(provider, self.recipe(provider, "One. " + '" ' * 350 + "two three"), PCM)
        assert (await self.say(provider, self.recipe(provider), PCM))[0]

    async def test_breaks_of_our_own_do_not_shift_the_words(self, provider: Provider) -> None:
        text = "漢" * 100 + " " + "W" * 100 + " and then, at last. The end"
        async with provider.speak(self.recipe(provider, text), RAW) as stream:
            marks = [mark async for chunk in stream.chunks for mark in chunk.marks]
        words = [text[mark.first : mark.first + mark.length] for mark in marks if mark.kind == "word"]
        assert words[-6:] == ["and", "then", "at", "last", "The", "end"]
        sentences = [text[mark.first : mark.first + mark.length] for mark in marks if mark.kind == "sentence"]
        assert sentences == [text[: text.index(" The")], "The end"]
        assert all(before.end <= after.start for before, after in pairwise(m for m in marks if m.kind == "word"))

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

    async def test_a_worker_that_hangs_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sayonce.providers.espeak._PATIENCE", 0.5)
        provider = registry.make("espeak", "espeak", {"workers": 2})
        await self.say(provider, self.recipe(provider), PCM)
        [hanging] = workers()
        hanging.suspend()
        with pytest.raises(ProviderTimeout):
            await self.say(provider, self.recipe(provider), PCM)
        assert (await self.say(provider, self.recipe(provider), PCM))[0]
        await until(lambda: hanging.pid not in {worker.pid for worker in workers()})
        await provider.aclose()

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


@pytest.mark.parametrize(
    "table",
    [{"voice": "nobody"}, {"voice": 7}, {"identity": ""}, {"workers": 0}, {"colour": "red"}],
)
def test_wrong_settings_are_named(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=f"'local'.*{next(iter(table))}|{next(iter(table))}.*'local'"):
        registry.make("local", "espeak", table)

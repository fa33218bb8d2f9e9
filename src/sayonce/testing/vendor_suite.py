"""The contract suite of vendors over HTTP: what each must do beside the providers' contract, on its good days and its
bad ones, over a real socket before a fake of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, ClassVar

import pytest

from sayonce.audio.encode import finalise
from sayonce.audio.probe import probe
from sayonce.errors import (
    BrokenAudio,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.speech.formats import BY_NAME, MP3
from sayonce.speech.requests import Owner
from sayonce.testing.providers import OTHER_WAYS, TEXT, ProviderContract
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.vendors.vendor import FakeVendor
from sayonce.testing.waiting import until

BAD_DAYS: list[tuple[dict[str, Any], type[ProviderError], bool]] = [
    ({"status": 500}, ProviderUnavailable, True),
    ({"status": 503}, ProviderUnavailable, True),
    ({"status": 504}, ProviderTimeout, True),
    ({"status": 401}, ProviderMisconfigured, False),
    ({"status": 403}, ProviderMisconfigured, False),
    ({"status": 402}, ProviderUnavailable, False),
    ({"status": 302, "headers": {"location": "http://127.0.0.1:9/"}}, ProviderMisconfigured, False),
    ({"status": 400}, ProviderRefused, False),
    ({"status": 422}, ProviderRefused, False),
    ({"status": 429}, ProviderRateLimited, True),
    ({"status": 404}, ProviderRefused, False),
    ({"status": 408}, ProviderTimeout, True),
    ({"key": "another"}, ProviderMisconfigured, False),
    ({"trouble": "html"}, BrokenAudio, True),
    ({"trouble": "json"}, BrokenAudio, True),
    ({"trouble": "empty"}, BrokenAudio, True),
    ({"trouble": "cut"}, ProviderUnavailable, True),
    ({"trouble": "abort"}, ProviderUnavailable, True),
    ({"trouble": "reset"}, ProviderUnavailable, True),
    ({"trouble": "never"}, ProviderTimeout, True),
]

PATIENCE: list[tuple[dict[str, str], float | None]] = [
    ({"retry-after": "7"}, 7.0),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "9" * 400}, 86_400.0),  # more than a float holds
    ({}, None),
]


# A list of voices has fewer ways to go wrong.
BAD_LISTS = [{"status": 401}, {"status": 500}, *({"trouble": each} for each in ("html", "json", "cut", "reset"))]

Make = Callable[..., Provider]


class VendorContract(ProviderContract):
    """Subclass it with `kind`, the vendor's name in the registry."""

    kind: ClassVar[str]

    #: What its base URL ends in.
    path: ClassVar[str] = ""

    #: Further settings, without which it cannot be tried.
    table: ClassVar[Mapping[str, Any]] = {}

    #: The fake vendor, where it is not one of sayonce's own.
    fake: ClassVar[type[FakeVendor] | None] = None

    vendors: FakeVendors
    vendor: FakeVendor

    @pytest.fixture
    async def url(self) -> AsyncIterator[str]:
        """The base URL of the fake vendor."""
        self.vendors = FakeVendors() if self.fake is None else FakeVendors(self.fake())
        if self.kind not in self.vendors.all:
            pytest.fail(f"no fake vendor {self.kind!r}: name it in sayonce/testing/vendors/app.py, or set 'fake'")
        self.vendor = self.vendors.all[self.kind]
        async with serving(self.vendors) as url:
            yield url + self.path
        assert self.vendors.strays == [], "no fake vendor answers these: is 'path' right?"

    @pytest.fixture
    async def make(self, url: str) -> AsyncIterator[Make]:
        """Makes upstreams of such settings, and closes them, whatever becomes of the test."""
        async with AsyncExitStack() as stack:

            def make(**table: Any) -> Provider:
                given = {"base_url": url, "api_key": "sk-x", **self.table, **table}
                provider = registry.make("upstream", self.kind, given)
                stack.push_async_callback(provider.aclose)
                return provider

            yield make

    @pytest.fixture
    async def provider(self, make: Make) -> Provider:
        return make(connections=4)

    def slow_down(self) -> None:
        self.vendor.behave(pace=0.05)

    async def test_it_is_reached_without_a_word_or_a_bill(self, provider: Provider) -> None:
        clock = await provider.reach()
        assert clock is None or abs(clock - time.time()) < 60
        assert self.vendor.counts.calls == 0

    async def test_it_is_heard_while_it_is_said(self, provider: Provider) -> None:
        self.vendor.behave(pace=0.05, piece=1_000, seconds=10.0)
        async with provider.speak(
            self.recipe(provider), provider.native_format(self.recipe(provider), MP3)
        ) as stream:
            async for chunk in stream.chunks:
                if chunk.data:
                    break
            assert (self.vendor.counts.running, self.vendor.counts.finished) == (1, 0)
        await until(lambda: self.vendor.counts.running == 0)
        assert self.vendor.counts.finished == 0  # leaving ended it

    async def test_connections_are_kept(self, provider: Provider) -> None:
        for n in range(6):
            await self.say(provider, self.recipe(provider, f"Number {n}."), MP3)
        assert len(self.vendors.clients) == 1

    async def test_the_text_is_sent_as_it_is(self, provider: Provider) -> None:
        recipe = self.recipe(provider, 'Say "it" \\ {voice} & <b>ü</b> %41, 日本 🙂!')
        await self.say(provider, recipe, MP3)
        assert self.vendor.counts.texts == {recipe.text: 1}

    async def test_the_key_is_sent(self, provider: Provider) -> None:
        self.vendor.behave(key="sk-x")
        await self.say(provider, self.recipe(provider), MP3)
        await provider.voices()

    @pytest.mark.parametrize("what", OTHER_WAYS)
    async def test_one_recipe_is_one_request(self, provider: Provider, what: str) -> None:
        plain, other = self.recipe(provider), await self.in_another_way(provider, what)
        if other is not None:
            for recipe in (plain, other):
                await self.say(provider, recipe, MP3)
            one, another = self.vendor.counts.bodies
            assert (one == another) is (plain.hash == other.hash), f"{what!r} is in one of recipe and request alone"

    async def test_no_request_tells_who_asks(self, provider: Provider) -> None:
        for tenant in ("ann", "bob"):
            await self.say(provider, self.recipe(provider, owner=Owner(tenant, user=tenant, session=tenant)), MP3)
        one, another = self.vendor.counts.bodies
        assert one == another

    @pytest.mark.parametrize("name", BY_NAME)
    async def test_it_lasts_as_long_as_was_said(self, provider: Provider, name: str) -> None:
        self.vendor.behave(seconds=6.0)
        audio, native = await self.say(provider, self.recipe(provider), BY_NAME[name])
        heard = probe(finalise(audio, native), native).duration
        assert heard == pytest.approx(6.0, abs=0.25), f"is {native} what comes, and its rate the true one?"

    def test_a_list_price_holds_at_the_vendor_alone(self, make: Make) -> None:
        elsewhere, priced = make(), make(price=2)
        assert elsewhere.price(self.recipe(elsewhere)) is None
        assert priced.price(self.recipe(priced, "a" * 1_000)) == pytest.approx(0.002)

    @pytest.mark.parametrize(("how", "wanted", "retryable"), BAD_DAYS)
    async def test_its_errors(
        self, make: Make, how: dict[str, Any], wanted: type[ProviderError], retryable: bool
    ) -> None:
        provider = make(first_byte_timeout=0.5)
        self.vendor.behave(**how)
        with pytest.raises(wanted) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert (failed.value.provider, failed.value.retryable) == ("upstream", retryable)
        assert "sk-x" not in str(failed.value)
        assert self.vendor.counts.calls == 1, "it tries once"

    @pytest.mark.parametrize("how", BAD_LISTS)
    async def test_a_list_of_voices_that_does_not_come(self, provider: Provider, how: dict[str, Any]) -> None:
        self.vendor.behave(**how)
        with suppress(ProviderError):
            voices = await provider.voices()
            assert self.vendors.requests == 0, f"it asked for a list that did not come, and made {voices} of it"

    @pytest.mark.parametrize(("headers", "seconds"), PATIENCE)
    async def test_patience(self, provider: Provider, headers: dict[str, str], seconds: float | None) -> None:
        self.vendor.behave(status=429, headers=headers)
        with pytest.raises(ProviderRateLimited) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert failed.value.retry_after == seconds

    async def test_nobody_there(self, make: Make) -> None:
        provider = make(base_url="http://127.0.0.1:9")
        with pytest.raises(ProviderUnavailable, match="reached"):
            await self.say(provider, self.recipe(provider), MP3)

    async def test_an_error_tells_the_reason_and_never_quotes_the_text(self, provider: Provider) -> None:
        said = []
        for why in ("The moon is full.", f"I will not say: {TEXT}"):
            self.vendor.behave(status=400, why=why)
            with pytest.raises(ProviderRefused) as failed:
                await self.say(provider, self.recipe(provider), MP3)
            said.append(str(failed.value))
        assert "The moon is full." in said[0], "its reason is lost: override _told"
        assert "friend" not in said[1]

    async def test_no_more_at_a_time_than_the_key_may_have(self, make: Make) -> None:
        provider = make(concurrency=2)
        self.vendor.behave(first_byte=0.02)
        await asyncio.gather(*(self.say(provider, self.recipe(provider, f"Number {n}."), MP3) for n in range(8)))
        assert self.vendor.counts.most_at_once == 2

"""What every vendor over HTTP must do, beside the contract: its bad days over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import psutil
import pytest

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
from sayonce.speech.formats import MP3
from sayonce.testing.providers import TEXT, ProviderContract
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from sayonce.testing.vendors.vendor import FakeVendor
from tests.conftest import until

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


def connections() -> set[int]:
    """The ports from which this process is connected to its own servers."""
    own = psutil.Process().net_connections("tcp4")
    listening = {each.laddr.port for each in own if each.status == psutil.CONN_LISTEN}
    return {each.laddr.port for each in own if each.raddr and each.raddr.port in listening}


class VendorContract(ProviderContract):
    """Subclass it with `kind`, the vendor's name; `path` is what its base URL ends in."""

    kind: ClassVar[str]
    path: ClassVar[str] = ""
    table: ClassVar[dict[str, Any]] = {}  # further settings of the provider in the contract's tests

    @pytest.fixture
    async def url(self) -> AsyncIterator[str]:
        """The base URL of the fake vendor."""
        vendors = FakeVendors()
        self.vendor: FakeVendor = vendors.all[self.kind]
        async with serving(vendors) as url:
            yield url + self.path

    @pytest.fixture
    async def provider(self, url: str) -> AsyncIterator[Provider]:
        provider = self.make(url, connections=4, **self.table)
        yield provider
        await provider.aclose()

    def make(self, url: str, **table: Any) -> Provider:
        """An upstream of these settings."""
        return registry.make("upstream", self.kind, {"base_url": url, "api_key": "sk-x", **table})

    def slow_down(self) -> None:
        self.vendor.behave(pace=0.05)

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
        await self.say(provider, self.recipe(provider), MP3)
        [kept] = connections()
        for n in range(5):
            await self.say(provider, self.recipe(provider, f"Number {n}."), MP3)
        assert connections() == {kept}

    @pytest.mark.parametrize(("how", "wanted", "retryable"), BAD_DAYS)
    async def test_its_errors(
        self, url: str, how: dict[str, Any], wanted: type[ProviderError], retryable: bool
    ) -> None:
        provider = self.make(url, first_byte_timeout=0.5)
        self.vendor.behave(**how)
        with pytest.raises(wanted) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert (failed.value.provider, failed.value.retryable) == ("upstream", retryable)
        assert "sk-x" not in str(failed.value)
        await provider.aclose()

    @pytest.mark.parametrize(("headers", "seconds"), PATIENCE)
    async def test_patience(self, provider: Provider, headers: dict[str, str], seconds: float | None) -> None:
        self.vendor.behave(status=429, headers=headers)
        with pytest.raises(ProviderRateLimited) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert failed.value.retry_after == seconds

    async def test_nobody_there(self) -> None:
        provider = self.make("http://127.0.0.1:9")
        with pytest.raises(ProviderUnavailable, match="reached"):
            await self.say(provider, self.recipe(provider), MP3)
        await provider.aclose()

    async def test_no_error_quotes_the_text(self, provider: Provider) -> None:
        quoting = f"I will not say: {TEXT}"
        self.vendor.behave(status=400, why=quoting)
        with pytest.raises(ProviderRefused) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert "friend" not in str(failed.value)

    async def test_no_more_at_a_time_than_the_key_may_have(self, url: str) -> None:
        provider = self.make(url, concurrency=2)
        self.vendor.behave(first_byte=0.02)
        await asyncio.gather(*(self.say(provider, self.recipe(provider, f"Number {n}."), MP3) for n in range(8)))
        assert self.vendor.counts.most_at_once == 2
        await provider.aclose()

"""Replicate keeps the contract, over a socket; the official client works against the fake, so the fake is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import httpx
import pytest
import replicate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sayonce.audio.encode import finalise
from sayonce.audio.probe import probe
from sayonce.errors import BrokenAudio, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnavailable
from sayonce.providers.contract import Provider
from sayonce.providers.outputs import Source
from sayonce.providers.replicate import VERSION, ReplicateProvider
from sayonce.speech.formats import MP3, WAV
from sayonce.testing.servers import serving
from sayonce.testing.vendor_suite import BAD_DAYS, Make, VendorContract
from sayonce.testing.vendors.replicate import FakeReplicate
from tests.conftest import until


class Elsewhere:
    """Another host, which keeps what it was sent."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def file(self, request: Request) -> Response:
        self.asked.append(dict(request.headers))
        return Response(b"secret", media_type="audio/wav")

    async def redirect(self, request: Request) -> Response:
        return RedirectResponse("http://169.254.169.254/latest/meta-data/")


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    host = Elsewhere()
    routes = [Route("/file.wav", host.file), Route("/redirect", host.redirect)]
    async with serving(Starlette(routes=routes)) as url:
        yield host, url


class TestReplicate(VendorContract):
    kind = "replicate"
    table: ClassVar[dict[str, Any]] = {"poll": 0.01}
    vendor: FakeReplicate

    async def test_what_is_sent(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider, " Two  words ", speed=1.5, voice="bf_emma"), WAV)
        assert self.vendor.counts.bodies == [
            {
                "version": VERSION.partition(":")[2],
                "input": {"text": "Two words", "voice": "bf_emma", "speed": 1.5},
            }
        ]

    async def test_an_official_model_has_a_path_of_its_own(self, make: Make) -> None:
        provider = make(version="jaaari/kokoro-82m")
        await self.say(provider, self.recipe(provider), WAV)
        assert "version" not in self.vendor.counts.bodies[0]

    async def test_it_is_waited_for(self, provider: Provider) -> None:
        self.vendor.behave(detail={"looks": 4})
        audio, native = await self.say(provider, self.recipe(provider), MP3)
        assert probe(finalise(audio, native), native).duration > 0.5

    @pytest.mark.parametrize(
        ("detail", "wanted"),
        [
            ({"end": "failed"}, ProviderUnavailable),
            ({"end": "canceled"}, ProviderUnavailable),
            ({"end": "aborted"}, ProviderUnavailable),
            ({"looks": 1_000_000}, ProviderTimeout),
            ({"output": None}, BrokenAudio),
            ({"output": []}, BrokenAudio),
            ({"output": {"a": 1}}, BrokenAudio),
            ({"output": "data:audio/wav;base64,!!!"}, BrokenAudio),
            ({"output": "data:text/html,hello"}, BrokenAudio),
            ({"output": "http://169.254.169.254/latest/"}, ProviderRefused),
            ({"output": "http://localhost:1/x.wav"}, ProviderRefused),
            ({"output": "http://replicate.delivery/x.wav"}, ProviderRefused),
            ({"output": "https://replicate.delivery.evil.example/x.wav"}, ProviderRefused),
            ({"output": "https://replicate.delivery@evil.example/x.wav"}, ProviderRefused),
            ({"output": "https://replicate.delivery:8443/x.wav"}, ProviderRefused),
            ({"output": "file:///etc/passwd"}, ProviderRefused),
            ({"output": "//evil.example/x"}, ProviderRefused),
            ({"output": "https://[::1/x"}, ProviderRefused),
        ],
    )
    async def test_bad_ends(self, make: Make, detail: dict[str, Any], wanted: type[ProviderError]) -> None:
        self.vendor.behave(detail=detail)
        async with aclosing(make(longest=0.2)) as provider:
            with pytest.raises(wanted):
                await self.say(provider, self.recipe(provider), MP3)
        assert len(self.vendor.canceled) == (1 if "looks" in detail else 0)

    async def test_why_it_failed_is_told_but_no_text(self, provider: Provider) -> None:
        self.vendor.behave(detail={"end": "failed", "error": "The GPU is gone."})
        with pytest.raises(ProviderUnavailable, match="The GPU is gone"):
            await self.say(provider, self.recipe(provider), MP3)
        self.vendor.behave(detail={"end": "failed", "error": "Hello there, my friend is no text."})
        with pytest.raises(ProviderUnavailable) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert "friend" not in str(failed.value)

    async def test_whom_nobody_waits_for_is_called_off(self, provider: Provider) -> None:
        self.vendor.behave(detail={"looks": 1_000_000})
        saying = asyncio.create_task(self.say(provider, self.recipe(provider), MP3))
        # Once it has been looked at, whoever asked knows by which name to call it off.
        await until(lambda: any(made.looks < 1_000_000 for made in self.vendor.predictions.values()))
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        await until(lambda: self.vendor.canceled)

    async def test_files_elsewhere_are_fetched_without_the_key(
        self, make: Make, url: str, elsewhere: tuple[Elsewhere, str]
    ) -> None:
        host, other = elsewhere
        provider = make()
        assert isinstance(provider, ReplicateProvider)
        provider._source = _Trusting("upstream", url)
        self.vendor.behave(detail={"output": f"{other}/file.wav"})
        await self.say(provider, self.recipe(provider), WAV)
        assert ["authorization" in headers for headers in host.asked] == [False]
        self.vendor.behave(detail={"output": f"{other}/redirect"})
        with pytest.raises(BrokenAudio, match="redirect"):
            await self.say(provider, self.recipe(provider), WAV)

    async def test_files_at_its_own_address_are_fetched_with_it(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider), WAV)
        assert self.vendor.fetched_with_key == 1

    async def test_audio_in_the_answer_itself(self, provider: Provider) -> None:
        self.vendor.behave(detail={"output": "data:audio/wav;base64,UklGRg=="})
        assert (await self.say(provider, self.recipe(provider), WAV))[0] == b"RIFF"

    def test_its_voices_speak_their_own_language(self, provider: Provider) -> None:
        assert self.recipe(provider, language="de") == self.recipe(provider)
        assert provider.has_voice("af_heart")
        assert not provider.has_voice("nova")

    async def test_the_official_client_works_against_the_fake(self, url: str) -> None:
        client = replicate.Client(api_token="sk-x", base_url=url)
        self.vendor.behave(detail={"looks": 1})
        given = {"text": "Hello there, my friend.", "voice": "af_nicole", "speed": 1}
        output = await asyncio.to_thread(client.run, VERSION, given)
        async with httpx.AsyncClient() as http:  # the client opens files itself only over https
            assert probe((await http.get(str(output))).content, WAV).duration > 0.5
        prediction = await asyncio.to_thread(
            client.predictions.create, version=VERSION.partition(":")[2], input=given
        )
        await asyncio.to_thread(prediction.wait)
        assert prediction.status == "succeeded"
        self.vendor.behave(detail={"end": "failed"})
        with pytest.raises(replicate.exceptions.ModelError):
            await asyncio.to_thread(client.run, VERSION, given)
        client._client.close()  # it has no such call of its own


class _Trusting(Source):
    """A test's other host is on this machine, and speaks no TLS."""

    def allows(self, url: str) -> bool:
        return url.startswith("http://127.0.0.1")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://replicate.delivery/a.wav", True),
        ("https://pbxt.replicate.delivery/a.wav", True),
        ("https://api.replicate.com/a", True),
        ("http://api.replicate.com/a", False),
        ("https://api.replicate.com:444/a", False),
        ("https://replicate.delivery.com/a", False),
        ("https://xreplicate.delivery/a", False),
        ("https://127.0.0.1/a", False),
        ("https://user@replicate.delivery/a", False),
        ("https:///a", False),
        ("", False),
    ],
)
def test_which_urls_may_be_fetched(url: str, allowed: bool) -> None:
    hosts = ("replicate.delivery", ".replicate.delivery")
    assert Source("x", "https://api.replicate.com", hosts).allows(url) is allowed


def test_all_bad_days_are_tried() -> None:
    assert len(BAD_DAYS) > 15

"""The fake vendors answer as the real ones do: the official client and plain HTTP cannot tell, and are counted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from starlette.routing import Route

from sayonce.audio.probe import probe
from sayonce.speech.formats import BY_NAME
from sayonce.testing.servers import serving
from sayonce.testing.vendors import Behaviour, FakeVendors
from sayonce.testing.vendors.deepgram import FakeDeepgram

TRANSPORT = {"cut": httpx.RemoteProtocolError, "abort": httpx.RemoteProtocolError, "reset": httpx.ReadError}
TEXT = "Hello there, my friend. How are you today?"


@pytest.fixture
async def vendors() -> AsyncIterator[tuple[FakeVendors, str]]:
    fake = FakeVendors()
    async with serving(fake) as url:
        yield fake, url


@pytest.fixture
async def client(vendors: tuple[FakeVendors, str]) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{vendors[1]}/v1", api_key="sk-x", max_retries=0) as client:
        yield client


async def speak(client: openai.AsyncOpenAI, text: str = TEXT, **how: Any) -> bytes:
    asked: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": text} | how
    return (await client.audio.speech.create(**asked)).content


@pytest.mark.parametrize("name", BY_NAME)
async def test_the_official_client_hears_speech_of_that_length(client: openai.AsyncOpenAI, name: str) -> None:
    heard = probe(await speak(client, response_format=name), BY_NAME[name])
    assert heard.duration == pytest.approx(len(TEXT) / 15, rel=0.1)


async def test_the_official_client_hears_it_as_it_comes(
    client: openai.AsyncOpenAI, vendors: tuple[FakeVendors, str]
) -> None:
    vendors[0].behave(pace=0.2, piece=500)
    asked: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": TEXT}
    async with client.audio.speech.with_streaming_response.create(**asked) as answer:
        await anext(aiter(answer.iter_bytes(100)))
        assert vendors[0].counts.finished == 0


async def test_the_same_sounds_the_same_and_nothing_else_does(client: openai.AsyncOpenAI) -> None:
    assert await speak(client) == await speak(client)
    said = [await speak(client, **how) for how in ({}, {"voice": "nova"}, {"model": "tts-1-hd"}, {"speed": 2})]
    assert len({*said, await speak(client, "Another text of the same, same length too.")}) == 5


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "a" * 4_097}, "input"),
        ({"voice": ""}, "voice"),
        ({"response_format": "ogg"}, "response_format"),
        ({"speed": 9}, "speed"),
        ({"extra_body": {"seed": 1}}, "seed"),
    ],
)
async def test_what_openai_refuses_it_refuses(client: openai.AsyncOpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        await speak(client, **wrong)
    assert failed.value.param == param


async def test_further_fields_are_taken_where_they_are_named(
    client: openai.AsyncOpenAI, vendors: tuple[FakeVendors, str]
) -> None:
    vendors[0].behave(further=["seed"])
    assert await speak(client, extra_body={"seed": 1}) != await speak(client, extra_body={"seed": 2})


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"status": 500}, openai.InternalServerError),
        ({"status": 429, "headers": {"retry-after": "7"}}, openai.RateLimitError),
        ({"status": 400}, openai.BadRequestError),
        ({"key": "another"}, openai.AuthenticationError),
    ],
)
async def test_the_official_client_understands_its_errors(
    client: openai.AsyncOpenAI, vendors: tuple[FakeVendors, str], how: dict[str, Any], error: type[Exception]
) -> None:
    vendors[0].behave(**how)
    with pytest.raises(error):
        await speak(client)


async def test_the_models_are_listed_for_who_has_the_key(
    client: openai.AsyncOpenAI, vendors: tuple[FakeVendors, str]
) -> None:
    assert "tts-1" in {model.id async for model in client.models.list()}
    vendors[0].behave(key="another")
    with pytest.raises(openai.AuthenticationError):
        await client.models.list()


async def test_troubles_end_after_their_times(vendors: tuple[FakeVendors, str]) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": TEXT}
    async with httpx.AsyncClient(base_url=vendors[1]) as http:
        vendors[0].behave(trouble="html", times=1)
        kinds = [(await http.post("/v1/audio/speech", json=asked)).headers["content-type"] for _ in range(2)]
        assert kinds == ["text/html", "audio/mpeg"]
        vendors[0].behave(trouble="empty", times=1)
        lengths = [len((await http.post("/v1/audio/speech", json=asked)).content) for _ in range(2)]
        assert lengths[0] == 0 < lengths[1]
        for trouble, broken in TRANSPORT.items():
            vendors[0].behave(trouble=trouble, times=1)
            with pytest.raises(broken):
                await http.post("/v1/audio/speech", json=asked)
            assert len((await http.post("/v1/audio/speech", json=asked)).content) == lengths[1]


async def test_what_is_listed_has_its_troubles_too(vendors: tuple[FakeVendors, str]) -> None:
    async with httpx.AsyncClient(base_url=vendors[1]) as http:
        vendors[0].behave(status=500, why="The moon is full.", times=1)
        assert "moon" in (await http.get("/v1/models")).text
        vendors[0].behave(trouble="html", times=1)
        kinds = [(await http.get("/v1/models")).headers["content-type"] for _ in range(2)]
        assert kinds == ["text/html", "application/json"]
        vendors[0].behave(trouble="reset")
        with pytest.raises(httpx.ReadError):
            await http.get("/v1/models")
    assert (vendors[0].counts.calls, vendors[0].counts.finished) == (0, 0)


async def test_it_tells_what_nobody_answers(vendors: tuple[FakeVendors, str]) -> None:
    async with httpx.AsyncClient(base_url=vendors[1]) as http:
        answer = await http.post("/v7/speak")
        assert (answer.status_code, answer.json()) == (404, {"error": "No fake vendor answers POST /v7/speak."})
    assert vendors[0].strays == ["POST /v7/speak"]


@pytest.mark.parametrize(
    ("path", "method", "shared"),
    [
        ("/v1/speak", "POST", True),
        ("/v1/{what}", "POST", True),
        ("/v1/text-to-speech/ann", "POST", True),
        ("/v1/speak", "GET", False),
        ("/v2/speak", "POST", False),
    ],
)
def test_no_two_answer_one_request(path: str, method: str, shared: bool) -> None:
    class FakeAcme(FakeDeepgram):
        name = "acme"

        def routes(self) -> list[Route]:
            return [Route(path, self._speak, methods=[method])]

    if not shared:
        assert FakeVendors(FakeAcme()).all["acme"]
        return
    with pytest.raises(ValueError, match=f"acme and .* both answer {method} {path}"):
        FakeVendors(FakeAcme())


async def test_it_counts(vendors: tuple[FakeVendors, str], client: openai.AsyncOpenAI) -> None:
    vendors[0].behave(first_byte=0.2)
    await asyncio.gather(*(speak(client, f"Number {n}.") for n in range(3)))
    counts = vendors[0].counts
    assert (counts.calls, counts.characters, counts.most_at_once, counts.running) == (3, 27, 3, 0)
    assert counts.texts == {"Number 0.": 1, "Number 1.": 1, "Number 2.": 1}


async def test_in_a_process_of_its_own_it_is_told_over_http() -> None:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sayonce.testing.vendors"), stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        url = (await running.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url) as http:
            told = (await http.post("/control", json={"status": 503, "times": 1})).json()
            assert Behaviour(**told) == Behaviour(status=503, times=1)
            asked = {"model": "tts-1", "voice": "alloy", "input": TEXT}
            statuses = [(await http.post("/v1/audio/speech", json=asked)).status_code for _ in range(2)]
            assert statuses == [503, 200]
            assert (await http.get("/control")).json()["calls"] == 2
    finally:
        running.terminate()
        await running.wait()

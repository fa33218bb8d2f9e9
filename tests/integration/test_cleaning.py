"""Cleaning at the doors: by rules, or by a language model that may fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sayonce.testing.servers import serving
from sayonce.testing.waiting import DEADLINE
from tests.conftest import House, MakeHouse

RAW = "**Hello** there, [my friend](https://example.com)."
BY_RULES = "Hello there, my friend."
BY_MODEL = "Hello there, dear friend of mine."


class FakeChat:
    """A chat endpoint that answers as it is told."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.trouble = ""
        self.content: Any = BY_MODEL
        self.finish: str | None = "stop"

    async def complete(self, request: Request) -> Response:
        self.calls.append({"key": request.headers.get("authorization"), **await request.json()})
        match self.trouble:
            case "slow":
                await asyncio.Event().wait()
            case "500":
                return PlainTextResponse("no", 500)
            case "html":
                return HTMLResponse("<html>")
            case "empty":
                return JSONResponse({"choices": []})
            case "huge":
                return PlainTextResponse("x" * 2_000_000)
            case "deep":
                return PlainTextResponse("[" * 100_000)
        choice = {"message": {"role": "assistant", "content": self.content}, "finish_reason": self.finish}
        return JSONResponse({"choices": [choice]})


@pytest.fixture
async def chat() -> AsyncIterator[tuple[FakeChat, str]]:
    fake = FakeChat()
    async with serving(Starlette(routes=[Route("/v1/chat/completions", fake.complete, methods=["POST"])])) as url:
        yield fake, f"{url}/v1"


@pytest.fixture
async def modelled(make_house: MakeHouse, chat: tuple[FakeChat, str]) -> House:
    return await make_house(cleaner={"base_url": chat[1], "api_key": "sk-chat", "timeout": DEADLINE})


async def say(house: House, text: str = RAW, **body: Any) -> dict[str, Any]:
    answer = await house.http.post("/api/voice", json={"text": text, **body})
    told: dict[str, Any] = answer.json()
    return told


def spoken(house: House) -> list[str]:
    return [body["input"] for body in house.vendors.counts.bodies]


async def test_the_rules_give_the_keyed_text(house: House) -> None:
    first = await say(house, cleaning="rules")
    assert spoken(house) == [BY_RULES]
    assert [word["word"] for word in first["words"]] in ([], BY_RULES.split())
    again = await say(house, "# " + BY_RULES, cleaning="rules")
    assert (again["outcome"], again["content_hash"]) == ("hit", first["content_hash"])
    assert (await say(house, BY_RULES))["outcome"] == "miss", "another cleaner is another recipe"


@pytest.mark.parametrize("header", [{"x-sayonce-cleaning": "rules"}, {}])
async def test_every_door_cleans(house: House, header: dict[str, str]) -> None:
    body = {} if header else {"cleaning": "rules"}
    heard = await house.speak(RAW, headers=header, **body)
    assert (heard.status, spoken(house)) == (200, [BY_RULES])


async def test_nothing_left_to_say(house: House) -> None:
    told = await say(house, "```\ncode\n```", cleaning="rules")
    assert told["error"]["code"] == "invalid_text"
    assert house.calls == 0


async def test_no_such_cleaning(house: House) -> None:
    assert (await say(house, cleaning="soap"))["error"]["param"] == "cleaning"
    assert (await say(house, cleaning="chat"))["error"]["message"].startswith("No cleaner is set up.")


async def test_a_model_keys_the_raw_text_and_a_hit_pays_for_nothing(
    modelled: House, chat: tuple[FakeChat, str]
) -> None:
    first = await say(modelled, cleaning="chat")
    assert (first["outcome"], spoken(modelled)) == ("miss", [BY_MODEL])
    chat[0].content = "It would answer otherwise now."
    again = await say(modelled, cleaning="chat")
    assert (again["outcome"], again["content_hash"]) == ("hit", first["content_hash"])
    assert (len(chat[0].calls), modelled.calls) == (1, 1)
    asset = (await modelled.http.get(f"/api/voice/{first['content_hash']}")).json()
    assert (asset["text"], asset["characters"]) == (BY_MODEL, len(BY_MODEL))
    [asked] = chat[0].calls
    assert (asked["key"], asked["temperature"]) == ("Bearer sk-chat", 0)
    assert RAW in asked["messages"][1]["content"]


async def test_a_model_that_takes_too_long_is_not_waited_for(
    make_house: MakeHouse, chat: tuple[FakeChat, str]
) -> None:
    hasty = await make_house(cleaner={"base_url": chat[1], "api_key": "sk-chat", "timeout": 0.3})
    chat[0].trouble = "slow"
    await say(hasty, cleaning="chat")
    assert spoken(hasty) == [BY_RULES]


@pytest.mark.parametrize("trouble", ["500", "html", "empty", "huge", "deep"])
async def test_where_the_model_fails_the_rules_clean(
    modelled: House, chat: tuple[FakeChat, str], trouble: str
) -> None:
    chat[0].trouble = trouble
    first = await say(modelled, cleaning="chat")
    assert (first["outcome"], spoken(modelled)) == ("miss", [BY_RULES])
    assert (await say(modelled, cleaning="rules"))["content_hash"] == first["content_hash"], "keyed under the rules"
    chat[0].trouble = ""
    back = await say(modelled, cleaning="chat")
    assert (back["outcome"], spoken(modelled)[-1]) == ("miss", BY_MODEL)


@pytest.mark.parametrize(
    ("content", "finish"),
    [("", "stop"), (None, "stop"), (7, "stop"), ("a\0b", "stop"), ("x" * 5_000, "stop"), ("Half a", "length")],
)
async def test_answers_that_cannot_be_the_text(
    modelled: House, chat: tuple[FakeChat, str], content: Any, finish: str
) -> None:
    chat[0].content, chat[0].finish = content, finish
    await say(modelled, cleaning="chat")
    assert spoken(modelled) == [BY_RULES]


async def test_many_at_once_are_one(modelled: House, chat: tuple[FakeChat, str]) -> None:
    said = await asyncio.gather(*(say(modelled, cleaning="chat") for _ in range(10)))
    assert len({each["content_hash"] for each in said}) == 1
    assert (len(chat[0].calls), modelled.calls) == (1, 1)


async def test_no_error_tells_a_text_or_a_key(
    make_house: MakeHouse, chat: tuple[FakeChat, str], capfd: pytest.CaptureFixture[str]
) -> None:
    house = await make_house(cleaner={"base_url": chat[1], "api_key": "sk-chat"}, attempts=1)
    chat[0].trouble = "html"
    house.vendors.behave(status=500)
    told = json.dumps(await say(house, cleaning="chat"))
    logged = "".join(capfd.readouterr())
    assert "no_provider_available" in told
    for text in (RAW, "friend", "sk-chat", "sk-x"):
        assert text not in told + logged

"""Either way gives the same answer, and the counters tell which way it was."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sayonce.access import keys
from sayonce.access.callers import Role
from sayonce.catalog.records import Tenant
from tests.integration.lane.conftest import RACHEL, SPEECH, TEXT, MakeWays, Ways, told

MESSAGE = {"text": TEXT, "thread_id": "t", "message_id": "m", "save_to_volume": True}
KINDS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "openai": ("openai", "POST", "/v1/audio/speech", {"json": SPEECH}),
    "openai wav": ("openai", "POST", "/v1/audio/speech", {"json": SPEECH | {"response_format": "wav"}}),
    "openai opus": ("openai", "POST", "/v1/audio/speech", {"json": SPEECH | {"response_format": "opus"}}),
    "openai query": ("openai", "POST", "/v1/audio/speech?a=b", {"json": SPEECH}),
    "elevenlabs": ("elevenlabs", "POST", f"/v1/text-to-speech/{RACHEL}", {"json": {"text": TEXT}}),
    "elevenlabs stream": ("elevenlabs", "POST", f"/v1/text-to-speech/{RACHEL}/stream", {"json": {"text": TEXT}}),
    "elevenlabs pcm": (
        "elevenlabs",
        "POST",
        f"/v1/text-to-speech/{RACHEL}?output_format=pcm_16000",
        {"json": {"text": TEXT}},
    ),
    "deepgram": ("deepgram", "POST", "/v1/speak", {"json": {"text": TEXT}}),
    "deepgram wav": ("deepgram", "POST", "/v1/speak?encoding=linear16", {"json": {"text": TEXT}}),
    "message": ("message", "POST", "/api/tts/speak", {"json": MESSAGE, "headers": {"x-sayonce-user": "ann"}}),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_both_ways(ways: Ways, kind: str) -> None:
    door, method, path, how = KINDS[kind]
    await ways.learn(method, path, **how)
    before = ways.answered
    answer = await ways.same(method, path, **how)
    assert (answer.status_code, answer.headers["x-tts-cache"]) == (200, "hit")
    assert ways.answered == before + 1
    assert ways.lane.gateway.watch.metrics.lane_answered[door] >= 2
    assert ways.whole.gateway.watch.metrics.lane_answered[door] == 0


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("versioned", [False, True])
async def test_the_audios_own_url_both_ways(ways: Ways, signed: bool, versioned: bool) -> None:
    said = (await ways.lane.http.post("/api/voice", json={"text": TEXT})).json()
    path = said["url"].removeprefix(ways.lane.url)
    if not signed:
        path = path.partition("&exp")[0] if versioned else path.partition("?")[0]
    elif not versioned:
        return  # a signature covers the version
    await ways.learn("GET", path)
    before = ways.answered
    answer = await ways.same("GET", path)
    assert (answer.status_code, ways.answered) == (200, before + 1)
    assert answer.headers["etag"]


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "xi-api-key"])
async def test_with_a_key(make_ways: MakeWays, scheme: str) -> None:
    ways = await make_ways()
    catalog = ways.lane.gateway.catalog
    await catalog.put_tenant(Tenant("default"))
    _, key = await keys.create(catalog, "default", "", [Role.SPEAK], lambda: 0.0)
    for house in (ways.lane, ways.whole):
        house.gateway.gate.forget_all()
        await house.gateway.feed.read()  # what it reads later would make the lane forget what it has learnt
    name, value = ("xi-api-key", key) if scheme == "xi-api-key" else ("authorization", f"{scheme} {key}")
    await ways.learn("POST", "/v1/audio/speech", json=SPEECH, headers={name: value, "x-forwarded-for": "1.2.3.4"})
    before = ways.answered
    for headers, status in (
        ({name: value, "x-forwarded-for": "5.6.7.8"}, 200),
        ({name: value + "x"}, 401),
        ({}, 401),
    ):
        assert (await ways.same("POST", "/v1/audio/speech", json=SPEECH, headers=headers)).status_code == status
    assert ways.answered == before + 1, "only the right key's"


async def test_what_differs_each_time_does(ways: Ways) -> None:
    for door, name in (("elevenlabs", "request-id"), ("deepgram", "dg-request-id")):
        _, method, path, how = KINDS[door]
        answers = [await ways.learn(method, path, **how) for _ in range(3)]
        assert len({answer.headers[name] for answer in answers}) == 3
        assert all(answer.headers["server-timing"].startswith("total;dur=") for answer in answers)
        assert all(answer.headers["date"] for answer in answers)


DECLINED: dict[str, tuple[str, dict[str, str]]] = {
    "header cache-control": ("header", {"cache-control": "no-cache"}),
    "header only-if-cached": ("header", {"cache-control": "only-if-cached"}),
    "header range": ("header", {"range": "bytes=0-9"}),
    "header if-none-match": ("header", {"if-none-match": "*"}),
    "header variation": ("header", {"x-sayonce-variation": "0"}),
    "header scope": ("header", {"x-sayonce-scope": "tenant"}),
    "header chain": ("header", {"x-sayonce-chain": "openai"}),
    "header origin": ("header", {"origin": "http://localhost:3000"}),
    "header unknown": ("header", {"x-nobody-knows": "1"}),
    "new user-agent twice": ("", {"user-agent": "another"}),
    "header close": ("header", {"connection": "close"}),
}


@pytest.mark.parametrize("kind", DECLINED)
async def test_what_goes_the_whole_way(ways: Ways, kind: str) -> None:
    reason, headers = DECLINED[kind]
    await ways.learn("POST", "/v1/audio/speech", json=SPEECH)
    answered, declined = ways.answered, ways.declined
    await ways.same("POST", "/v1/audio/speech", json=SPEECH, headers=headers)
    if reason:
        assert ways.answered == answered
        assert ways.declined[("openai", reason)] == declined.get(("openai", reason), 0) + 1
    else:
        assert ways.answered == answered + 1, "what no door looks at makes no difference"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", json.dumps(SPEECH | {"voice": "\x00"}).encode(), b"x" * 70_000, b'{"input": "\xff"}']
)
async def test_what_is_wrong_stays_wrong(ways: Ways, body: bytes) -> None:
    for _ in range(3):
        answer = await ways.same("POST", "/v1/audio/speech", content=body)
        assert answer.status_code in (400, 413)
    assert ways.answered == 0


async def test_one_byte_more_is_another_request(ways: Ways) -> None:
    await ways.learn("POST", "/v1/audio/speech", json=SPEECH)
    before = ways.answered
    other = await ways.lane.http.post("/v1/audio/speech", json=SPEECH | {"input": TEXT + "!"})
    path = await ways.lane.http.post("/v1/audio/speech?x", json=SPEECH)
    assert (other.headers["x-tts-cache"], path.headers["x-tts-cache"]) == ("miss", "hit")
    assert ways.answered == before


async def test_every_hit_is_counted_once_whichever_way(ways: Ways) -> None:
    for _ in range(20):
        await ways.lane.http.post("/v1/audio/speech", json=SPEECH)
    await ways.lane.gateway.flush()
    count = (await ways.lane.gateway.catalog.statistics()).count
    assert (count.misses, count.hits) == (1, 19)
    assert 15 <= ways.answered <= 19
    assert ways.lane.gateway.watch.metrics.answers["hit"] == 19


async def test_it_is_a_setting_and_health_tells(ways: Ways) -> None:
    assert (await ways.lane.http.get("/api/health")).json()["hot_lane"] == "on"
    assert "hot_lane" in (await ways.whole.http.get("/api/health")).json()["hot_lane"]
    metrics = (await ways.lane.http.get("/metrics")).text
    assert 'sayonce_lane_answered_total{door="openai"} 0.0' in metrics


def test_told_is_strict() -> None:
    one = httpx.Response(200, headers={"x-a": "1", "date": "now"}, content=b"a")
    other = httpx.Response(200, headers={"x-a": "2", "date": "then"}, content=b"a")
    assert told(one) != told(other)

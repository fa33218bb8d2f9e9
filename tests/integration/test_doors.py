"""The doors, over a real socket: what they answer, and how they refuse."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import openai
import pytest

from sayonce.audio.formats import format_of
from sayonce.audio.probe import probe
from tests.conftest import House, MakeHouse

SPEECH = {"model": "tts-1", "voice": "nova", "input": "Hello there, my friend."}


async def test_server_sent_events(house: House) -> None:
    for outcome in ("miss", "hit"):
        async with house.http.stream("POST", "/v1/audio/speech", json=SPEECH | {"stream_format": "sse"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-tts-cache"] == outcome
            events = [json.loads(line[6:]) async for line in answer.aiter_lines() if line]
        *deltas, done = events
        assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
        assert probe(b"".join(base64.b64decode(delta["audio"]) for delta in deltas), format_of("mp3")).duration > 0.5
        assert done["type"] == "speech.audio.done"
        usage = done["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 2
    plain = await house.http.post("/v1/audio/speech", json=SPEECH)
    assert (plain.headers["x-tts-cache"], house.calls) == ("hit", 1)


# ── OpenAI's ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_official_client(house: House) -> None:
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="any") as client:
        for outcome in ("miss", "hit"):
            answer = await client.audio.speech.with_raw_response.create(**SPEECH)  # type: ignore[arg-type]
            assert answer.headers["x-tts-cache"] == outcome
            assert answer.headers["content-type"] == "audio/mpeg"
        async with client.audio.speech.with_streaming_response.create(
            **SPEECH | {"input": "Streamed.", "response_format": "opus"}  # type: ignore[arg-type]
        ) as streamed:
            audio = b"".join([piece async for piece in streamed.iter_bytes()])
        assert probe(audio, format_of("opus")).duration > 0.3
        assert "tts-1" in {model.id async for model in client.models.list()} | {"tts-1"}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.audio.speech.create(**SPEECH | {"input": ""})  # type: ignore[arg-type]
        assert refused.value.code == "invalid_text"


async def test_the_official_client_does_not_try_again_what_cannot_help(house: House) -> None:
    house.vendors.behave(key="another")
    async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=3) as client:
        with pytest.raises(openai.InternalServerError):
            await client.audio.speech.create(**SPEECH)  # type: ignore[arg-type]
    assert house.calls == 1


async def test_a_live_answer_comes_in_pieces_as_it_is_spoken(house: House) -> None:
    house.vendors.behave(pace=0.05, piece=2_000)
    began = time.monotonic()
    async with house.http.stream("POST", "/v1/audio/speech", json=SPEECH) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        pieces = [(time.monotonic() - began, piece) async for piece in answer.aiter_raw()]
    assert len(pieces) > 3
    assert pieces[0][0] < pieces[-1][0]


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({"input": ""}, 400, "input"),
    ({"input": " \n\t "}, 400, "input"),
    ({"input": "a" * 4_097}, 400, "input"),
    ({"input": "e" + "\u0301" * 4_000}, 400, "input"),
    ({"input": "a\x00b"}, 400, "input"),
    ({"input": 7}, 400, "input"),
    ({"input": None}, 400, "input"),
    ({"voice": ""}, 400, "voice"),
    ({"voice": "nov\x00a"}, 400, "voice"),
    ({"voice": "v" * 300}, 400, "voice"),
    ({"voice": {"id": 3}}, 400, "voice"),
    ({"model": ""}, 400, "model"),
    ({"model": None}, 400, "model"),
    ({"response_format": "mp9"}, 400, "response_format"),
    ({"response_format": "../../etc/passwd"}, 400, "response_format"),
    ({"speed": 0}, 400, "speed"),
    ({"speed": 9}, 400, "speed"),
    ({"speed": -1}, 400, "speed"),
    ({"speed": "fast"}, 400, "speed"),
    ({"speed": 1e308}, 400, "speed"),
    ({"colour": "red"}, 400, "colour"),
    ({"stream_format": "events"}, 400, "stream_format"),
    ({"instructions": "a" * 4_097}, 400, "instructions"),
    ({"variation": -1}, 400, "variation"),
    ({"scope": "everyone"}, 400, "scope"),
    ({"scope": "user"}, 400, "user"),
    ({"scope": "user", "user": "a\nb"}, 400, "user"),
]


@pytest.mark.parametrize(("wrong", "status", "param"), BAD, ids=lambda value: str(value)[:40])
async def test_bad_fields(house: House, wrong: dict[str, Any], status: int, param: str | None) -> None:
    heard = (
        await house.speak(**{"text": SPEECH["input"]} | {k: v for k, v in wrong.items() if k != "input"})
        if ("input" not in wrong)
        else await _post(house, SPEECH | wrong)
    )
    assert (heard.status, heard.error["param"]) == (status, param)
    assert heard.error["type"] == "invalid_request_error"
    assert heard.error["message"].endswith(".")
    assert (house.calls, house.blobs()) == (0, [])


async def _post(house: House, body: dict[str, Any]) -> Any:
    from tests.conftest import Heard

    answer = await house.http.post("/v1/audio/speech", json=body)
    return Heard(answer.status_code, None, answer.content, answer.headers, answer.json()["error"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe\x00",
        b"\xed\xa0\x80",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        json.dumps(SPEECH).encode() + b"x",
        b'{"model": "tts-1", "voice": "nova", "input": "\\ud800"}',
        b'{"model": "tts-1", "voice": "nova", "input": "hi", "speed": NaN}',
        b'{"model": "tts-1", "voice": "nova", "input": "hi", "speed": Infinity}',
        b'{"model": "tts-1", "voice": "\\ud800", "input": "hi"}',
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/voice"])
async def test_bad_bodies(house: House, body: bytes, path: str) -> None:
    answer = await house.http.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"]
    assert (house.calls, house.blobs()) == (0, [])


@pytest.mark.parametrize("chunked", [False, True])
async def test_fifty_megabytes_are_refused_before_they_have_come(house: House, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(50):
            yield b"x" * 1_000_000

    content = pieces() if chunked else b"x" * 50_000_000
    answer = await house.http.post("/v1/audio/speech", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "text", ["שלום מה שלומך", "مرحبا", "👩‍👩‍👧‍👦 🙂", "日本語のテキスト", "Zürich — “naïve” café…"]
)
async def test_every_script_is_spoken(house: House, text: str) -> None:
    assert (await house.speak(text)).outcome == "miss"
    assert (await house.speak(text)).outcome == "hit"


async def test_without_a_vendor_openais_names_speak_through_the_local_voice(make_house: MakeHouse) -> None:
    house = await make_house(openai_api_key=None, openai_base_url=None)
    heard = {name: await house.speak(voice=name) for name in ("alloy", "nova", "onyx")}
    assert {answer.outcome for answer in heard.values()} == {"miss"}
    assert len({answer.audio for answer in heard.values()}) == 3
    assert {answer.headers["x-tts-provider"] for answer in heard.values()} == {"espeak"}
    refused = await house.speak(voice="novva")
    assert (refused.status, refused.error["code"]) == (400, "voice_not_found")
    assert "nova" in refused.error["message"]
    assert (await house.speak(model="tts-7")).status == 404


async def test_a_voice_may_name_its_upstream(house: House) -> None:
    heard = await house.speak(voice="espeak/en-us", model="espeak")
    assert (heard.status, heard.headers["x-tts-provider"], house.calls) == (200, "espeak", 0)


async def test_a_tenant_that_asks_too_often_waits(make_house: MakeHouse) -> None:
    house = await make_house(rate=1, burst=3)
    heard = [await house.speak() for _ in range(4)]
    assert [answer.status for answer in heard] == [200, 200, 200, 429]
    assert heard[-1].headers["retry-after"] == "1"
    assert heard[-1].error["code"] == "rate_limit_exceeded"


async def test_a_budget_stops_new_texts_and_no_old_ones(make_house: MakeHouse) -> None:
    from sayonce.catalog.records import Tenant

    house = await make_house()
    url = house.gateway.settings.openai_base_url
    paid = await make_house(upstreams={"openai": {"provider": "openai", "base_url": url, "price": 1_000.0}})
    await paid.gateway.catalog.put_tenant(Tenant("default", budget=0.05))
    first = await paid.speak("Twenty-five characters, o.")
    second = await paid.speak("Another twenty-five or so.")
    again = await paid.speak("Twenty-five characters, o.")
    assert (first.status, second.status, again.outcome) == (200, 429, "hit")
    assert (second.error["code"], house.calls) == ("insufficient_quota", 1)
    stats = (await paid.http.get("/api/cache-stats")).json()["stats"]
    assert stats["spent"] == pytest.approx(0.026)
    assert stats["saved"] == pytest.approx(0.026)


async def test_costs_are_counted_in_one_currency(make_house: MakeHouse) -> None:
    url = (await make_house()).gateway.settings.openai_base_url
    paid = {"openai": {"provider": "openai", "base_url": url, "price": 15.0}}
    house = await make_house(upstreams=paid, currency="ZAR", usd_rate=18.2)
    text = "Twenty-six characters, oo."
    first, again = [(await house.http.post("/api/voice", json={"text": text})).json() for _ in range(2)]
    micros = round(15 * 26 / 1_000_000 * 18.2 * 1_000_000)
    assert (first["cost_micros"], first["saved_micros"], first["currency"]) == (micros, 0, "ZAR")
    assert (again["cost_micros"], again["saved_micros"], again["saved"]) == (0, micros, micros / 1_000_000)
    for n in range(9):
        await house.http.post("/api/voice", json={"text": text, "voice": "nova" if n else "alloy"})
    stats = (await house.http.get("/api/cache-stats")).json()["stats"]
    assert (stats["currency"], stats["spent_micros"], stats["saved_micros"]) == ("ZAR", 2 * micros, 9 * micros)
    assert stats["by_voice"]["openai/nova"]["saved_micros"] == 7 * micros
    assert stats["by_voice"]["openai/alloy"]["saved_micros"] == 2 * micros
    (day,) = stats["by_day"].values()
    assert (day["spent_micros"], day["hits"]) == (2 * micros, 9)
    assert stats["by_tenant"]["default"]["saved"] == 9 * micros / 1_000_000


async def test_the_settings_budget_is_for_who_has_none(make_house: MakeHouse) -> None:
    url = (await make_house()).gateway.settings.openai_base_url
    paid = {"openai": {"provider": "openai", "base_url": url, "price": 1_000.0}}
    house = await make_house(upstreams=paid, budget=0.01)
    assert (await house.speak()).error["code"] == "insufficient_quota"
    assert house.calls == 0


# ── our own ──────────────────────────────────────────────────────────────────────────────────────


async def test_voice_in_json(house: House) -> None:
    first = (await house.http.post("/api/voice", json={"text": "Hello.", "voiceId": "nova", "format": "opus"})).json()
    second = (await house.http.post("/api/voice", json={"text": "Hello.", "voice": "nova", "format": "opus"})).json()
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["content_hash"] == second["content_hash"]
    audio = await house.http.get(second["url"])
    assert (audio.status_code, audio.headers["content-type"]) == (200, "audio/ogg; codecs=opus")
    assert probe(audio.content, format_of("opus")).duration == pytest.approx(first["duration"], abs=0.01)


async def test_words_come_with_the_local_voice(make_house: MakeHouse) -> None:
    house = await make_house(openai_api_key=None, openai_base_url=None)
    told = (await house.http.post("/api/voice", json={"text": "Hello there, friend."})).json()
    assert [word["word"] for word in told["words"]] == ["Hello", "there", "friend"]
    again = (await house.http.post("/api/voice", json={"text": "Hello there, friend."})).json()
    assert again["words"] == told["words"]
    vtt = (await house.http.get(told["url"].replace(".mp3", ".vtt"))).status_code
    assert vtt == 404  # the signature is the mp3's
    bare = f"/audio/{told['content_hash']}.vtt"
    assert (await house.http.get(bare)).text.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert len((await house.http.get(bare.replace("vtt", "json"))).json()["words"]) == 3


@pytest.mark.parametrize(
    "content_hash", ["x", "..", "%2e%2e%2f", "é" * 64, "g" * 64, "a" * 63, "a" * 65, "a" * 64, "A" * 64, "a" * 5_000]
)
async def test_hashes_that_are_none(house: House, content_hash: str) -> None:
    for path in (f"/api/voice/{content_hash}", f"/audio/{content_hash}.mp3", f"/audio/{content_hash}"):
        assert (await house.http.get(path)).status_code == 404
    assert (await house.http.delete(f"/api/voice/{content_hash}")).status_code == 404


# ── the open gateway, and pages of elsewhere ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "header",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "10.0.0.1:8700"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"x-forwarded-for": "1.2.3.4"},
        {"forwarded": "for=1.2.3.4"},
        {"x-real-ip": "127.0.0.1"},
        {"via": "1.1 proxy"},
    ],
    ids=str,
)
async def test_an_open_gateway_is_for_its_own_machine(house: House, header: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/audio/speech"), ("GET", "/v1/models"), ("GET", "/metrics")):
        answer = await house.http.request(method, path, headers=header, json=SPEECH if method == "POST" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert "sayonce keys create" in answer.json()["error"]["message"]
    assert house.calls == 0


@pytest.mark.parametrize("host", ["localhost:8700", "127.0.0.1", "127.9.9.9:1", "[::1]:8700", "LOCALHOST"])
async def test_its_own_names_are_let_in(house: House, host: str) -> None:
    answer = await house.http.get("/v1/models", headers={"host": host, "origin": "http://localhost:3000"})
    assert answer.status_code == 200


async def test_cors_is_a_setting(make_house: MakeHouse, house: House) -> None:
    allowed = await make_house(cors_origins="https://app.example")
    answer = await allowed.http.post("/v1/audio/speech", json=SPEECH, headers={"origin": "https://app.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-TTS-Cache" in answer.headers["access-control-expose-headers"]
    preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert (await allowed.http.options("/v1/audio/speech", headers=preflight)).status_code == 200
    plain = await house.http.get("/api/health", headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in plain.headers


# ── how it goes ──────────────────────────────────────────────────────────────────────────────────


async def test_health_and_figures(house: House) -> None:
    health = (await house.http.get("/api/health")).json()
    assert (health["status"], health["service"]) == ("healthy", "sayonce")
    assert (await house.http.get("/api/health/ready")).status_code == 200
    await house.speak()
    stats = (await house.http.get("/api/cache-stats")).json()
    assert stats["success"] is True
    assert stats["stats"]["entries"] == 1
    metrics = (await house.http.get("/metrics")).text
    assert 'sayonce_answers_total{outcome="miss"} 1.0' in metrics
    assert 'sayonce_generations_total{result="success",upstream="openai"} 1.0' in metrics


async def test_paths_and_methods_that_are_none(house: House) -> None:
    missing, wrong = await house.http.get("/nowhere"), await house.http.put("/v1/audio/speech")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_the_openapi_document_knows_every_door(house: House) -> None:
    paths = (await house.http.get("/openapi.json")).json()["paths"]
    assert {"/v1/audio/speech", "/v1/models", "/api/voice", "/api/voice/{content_hash}", "/audio/{name}"} <= set(
        paths
    )
    assert "input" in str(paths["/v1/audio/speech"]) or "SpeechBody" in str(paths["/v1/audio/speech"])


async def test_requests_on_one_connection_follow_one_another(house: House) -> None:
    """Keep-alive and pipelining, refused and answered requests mixed."""
    host, _, port = house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    good, bad = json.dumps(SPEECH).encode(), b"{"
    for body in (good, bad, good, bad, good):
        writer.write(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
    statuses = []
    for _ in range(5):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        statuses.append(int(head.split()[1]))
        if b"content-length: " in head:
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
    writer.close()
    assert statuses == [200, 400, 200, 400, 200]


async def test_a_bug_shows_nothing_of_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("an inner secret")

    monkeypatch.setattr(house.gateway.cast, "chain", broken)
    told = {"/v1/audio/speech": "error", "/v1/text-to-speech/nova": "detail", "/v1/speak": "err_msg"}
    for path, field in told.items():
        answer = await house.http.post(path, json={**SPEECH, "text": "Hi."} if field == "error" else {"text": "Hi."})
        assert (answer.status_code, field in answer.json()) == (500, True), "in its own dialect"
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text

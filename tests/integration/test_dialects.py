"""ElevenLabs' and Deepgram's dialects, by their own unmodified clients and by hand, over a socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError as DeepgramError
from deepgram.environment import DeepgramClientEnvironment
from elevenlabs.client import AsyncElevenLabs
from elevenlabs.core.api_error import ApiError as ElevenLabsError

from sayonce.audio.encode import finalise
from sayonce.audio.probe import probe
from sayonce.speech.dialects import DEEPGRAM, ELEVENLABS, deepgram_content_type, deepgram_format, deepgram_query
from tests.conftest import House, MakeHouse

TEXT = "Hello there, my friend."
RACHEL = "21m00Tcm4TlvDq8ikWAM"
SPEECH = f"/v1/text-to-speech/{RACHEL}"


@pytest.fixture(params=["local", "vendors"])
async def either(request: pytest.FixtureRequest, make_house: MakeHouse) -> House:
    """A gateway with no vendor at all, and one before both."""
    if request.param == "local":
        return await make_house(openai_base_url=None, openai_api_key=None)
    return await make_house(before=("elevenlabs", "deepgram"))


def eleven(house: House) -> AsyncElevenLabs:
    return AsyncElevenLabs(base_url=house.url, api_key="any", httpx_client=house.http)


def deep(house: House) -> AsyncDeepgramClient:
    environment = DeepgramClientEnvironment(base=house.url, production="", agent="", agent_rest="")
    return AsyncDeepgramClient(api_key="any", environment=environment, httpx_client=house.http)


async def collect(stream: Any) -> bytes:
    return b"".join([piece async for piece in stream])


# ── ElevenLabs' own client ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call", ["convert", "stream"])
async def test_elevenlabs_client_speaks_miss_then_hit(either: House, call: str) -> None:
    client = eleven(either)
    outcomes, heard = [], []
    for _ in range(2):
        async with getattr(client.text_to_speech.with_raw_response, call)(RACHEL, text=TEXT) as answer:
            heard.append(await collect(answer.data))
            outcomes.append(answer.headers["x-tts-cache"])
            assert answer.headers["content-type"] == "audio/mpeg"
            assert answer.headers["character-cost"] == (str(len(TEXT)) if outcomes[-1] == "miss" else "0")
            assert answer.headers["request-id"]
    assert outcomes == ["miss", "hit"]
    assert heard[1].endswith(heard[0]), "what was encoded here tells how long it is, once it is kept"
    found = probe(heard[0], ELEVENLABS["mp3_44100_128"])
    assert (found.sample_rate, found.duration > 0.5) == (44_100, True)


async def test_elevenlabs_client_gets_timestamps_from_the_cache_too(either: House) -> None:
    client = eleven(either)
    told = []
    for _ in range(2):
        answer = await client.text_to_speech.with_raw_response.convert_with_timestamps(RACHEL, text=TEXT)
        told.append((answer.headers["x-tts-cache"], answer.data))
    assert [outcome for outcome, _ in told] == ["miss", "hit"]
    for _, said in told:
        check_alignment(said.alignment)
        assert probe(base64.b64decode(said.audio_base_64), ELEVENLABS["mp3_44100_128"]).duration > 0.5
    assert told[0][1] == told[1][1]


async def test_elevenlabs_client_streams_timestamps(either: House) -> None:
    client = eleven(either)
    for outcome in ("miss", "hit"):
        audio, characters, starts, ends = b"", [], [], []
        async with client.text_to_speech.with_raw_response.stream_with_timestamps(RACHEL, text=TEXT) as answer:
            assert answer.headers["x-tts-cache"] == outcome
            async for chunk in answer.data:
                audio += base64.b64decode(chunk.audio_base_64)
                if chunk.alignment is not None:
                    characters += chunk.alignment.characters
                    starts += chunk.alignment.character_start_times_seconds
                    ends += chunk.alignment.character_end_times_seconds
        check_times("".join(characters), starts, ends)
        assert probe(audio, ELEVENLABS["mp3_44100_128"]).duration >= ends[-1] - 0.05


def check_alignment(alignment: Any) -> None:
    check_times(
        "".join(alignment.characters), alignment.character_start_times_seconds, alignment.character_end_times_seconds
    )


def check_times(text: str, starts: list[float], ends: list[float]) -> None:
    assert text == TEXT
    assert starts == sorted(starts)
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert ends[-1] > 0.5


async def test_elevenlabs_client_lists_voices(either: House) -> None:
    voices = (await eleven(either).voices.get_all()).voices
    assert (RACHEL, "Rachel") in {(voice.voice_id, voice.name) for voice in voices}


async def test_elevenlabs_client_understands_our_errors(either: House) -> None:
    client = eleven(either)
    with pytest.raises(ElevenLabsError) as empty:
        await collect(client.text_to_speech.convert(RACHEL, text=""))
    assert (empty.value.status_code, empty.value.body["detail"][0]["type"]) == (422, "invalid_text")
    with pytest.raises(ElevenLabsError) as nobody:
        await collect(client.text_to_speech.convert("nobody", text=TEXT))
    assert nobody.value.status_code in (400, 404)


async def test_a_voice_that_nobody_stands_for(make_house: MakeHouse) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    answer = await house.http.post("/v1/text-to-speech/NobodyKnowsThisOne00", json={"text": TEXT})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (404, "voice_not_found")
    assert "voices." in answer.json()["detail"]["message"]
    mapped = await make_house(
        openai_base_url=None,
        openai_api_key=None,
        voices={"elevenlabs/NobodyKnowsThisOne00": {"espeak": "en-gb"}},
    )
    answer = await mapped.http.post("/v1/text-to-speech/NobodyKnowsThisOne00", json={"text": TEXT})
    assert (answer.status_code, answer.headers["x-tts-provider"]) == (200, "espeak")


async def test_elevenlabs_options_enter_the_recipe(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs",))
    client = eleven(house)
    settings = {"stability": 0.4, "speed": 1.1, "use_speaker_boost": None}
    for _ in range(2):
        await collect(client.text_to_speech.convert(RACHEL, text=TEXT, voice_settings=settings, seed=7))
    [body] = house.vendors.elevenlabs.counts.bodies
    assert (body["voice_settings"], body["seed"]) == ({"stability": 0.4, "speed": 1.1}, 7)
    await collect(client.text_to_speech.convert(RACHEL, text=TEXT, voice_settings={"stability": 0.5}))
    assert house.vendors.elevenlabs.counts.calls == 2


@pytest.mark.parametrize("name", ELEVENLABS)
async def test_every_output_format(either: House, name: str) -> None:
    answer = await either.http.post(SPEECH, params={"output_format": name}, json={"text": TEXT})
    assert answer.status_code == 200
    assert probe(finalise(answer.content, ELEVENLABS[name]), ELEVENLABS[name]).duration > 0.5


ELEVEN_WRONG: list[tuple[dict[str, Any], int]] = [
    ({"json": {}}, 422),
    ({"content": b"{"}, 422),
    ({"json": {"text": 7}}, 422),
    ({"json": {"text": TEXT}, "params": {"output_format": "mp3_1"}}, 422),
    ({"json": {"text": TEXT}, "params": {"optimise": "1"}}, 422),
    ({"json": {"text": TEXT}, "params": {"optimize_streaming_latency": "x"}}, 422),
    ({"json": {"text": "a" * 40_001}}, 400),
    ({"json": {"text": TEXT, "voice_settings": {"stability": 9}}}, 422),
    ({"json": {"text": TEXT, "voice_settings": [1]}}, 422),
    ({"json": {"text": TEXT, "model_id": "a\nb"}}, 422),
]


@pytest.mark.parametrize(("request_", "status"), ELEVEN_WRONG)
async def test_what_elevenlabs_door_refuses(make_house: MakeHouse, request_: dict[str, Any], status: int) -> None:
    house = await make_house(before=("elevenlabs",))
    answer = await house.http.post(SPEECH, **request_)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert (detail[0]["msg"] and detail[0]["loc"][0] == "body") if status == 422 else detail["message"]
    assert house.vendors.elevenlabs.counts.calls == 0


async def test_vendors_errors_in_the_dialect(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs",), attempts=1)
    house.vendors.elevenlabs.behave(status=429, headers={"retry-after": "7"}, times=1)
    answer = await house.http.post(SPEECH, json={"text": TEXT})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (429, "provider_rate_limited")
    assert answer.headers["retry-after"] == "7"


async def test_timestamps_that_nobody_tells(make_house: MakeHouse) -> None:
    mapped = {"voices": {f"elevenlabs/{RACHEL}": {"openai": "nova"}}}
    house = await make_house(**mapped)
    for path in ("/with-timestamps", "/stream/with-timestamps"):
        answer = await house.http.post(SPEECH + path, json={"text": TEXT})
        assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "no_timings")
    assert house.calls == 0, "nobody is paid to learn that"
    estimating = await make_house(**mapped, estimate_timings=True)
    answer = await estimating.http.post(SPEECH + "/with-timestamps", json={"text": TEXT})
    assert (answer.status_code, answer.headers["x-tts-timings"]) == (200, "estimated")
    assert "".join(answer.json()["alignment"]["characters"]) == TEXT


async def test_discretion_is_kept_or_refused(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs", "deepgram"))
    asked = [(SPEECH, "enable_logging", no) for no in ("false", "0", "No", "off", "f", "n")]
    asked += [("/v1/speak", "mip_opt_out", yes) for yes in ("true", "1", "YES", "on", "t", "y")]
    for path, name, word in asked:
        answer = await house.http.post(path, params={name: word}, json={"text": TEXT})
        assert answer.status_code in (400, 422)
        assert "may keep" in answer.text
    for path, name in ((SPEECH, "enable_logging"), ("/v1/speak", "mip_opt_out")):
        unclear = await house.http.post(path, params={name: "perhaps"}, json={"text": TEXT})
        assert (unclear.status_code, "neither true nor false" in unclear.text) in ((400, True), (422, True))
    assert house.vendors.elevenlabs.counts.calls == house.vendors.deepgram.counts.calls == 0
    tables = {"elevenlabs": {"enable_logging": False}, "deepgram": {"mip_opt_out": True}}
    discreet = await make_house(before=("elevenlabs", "deepgram"), upstreams=tables)
    for path, query in ((SPEECH, {"enable_logging": "false"}), ("/v1/speak", {"mip_opt_out": "true"})):
        assert (await discreet.http.post(path, params=query, json={"text": TEXT})).status_code == 200


# ── Deepgram's own client ────────────────────────────────────────────────────────────────────────


async def test_deepgram_client_speaks_miss_then_hit(either: House) -> None:
    client = deep(either)
    outcomes, heard = [], []
    for _ in range(2):
        async with client.speak.v1.audio.with_raw_response.generate(
            text=TEXT, model="aura-2-thalia-en", encoding="linear16", container="wav", sample_rate=16_000
        ) as answer:
            heard.append(await collect(answer.data))
            outcomes.append(answer.headers["x-tts-cache"])
            assert answer.headers["content-type"] == "audio/wav"
            assert answer.headers["dg-model-name"] == "aura-2-thalia-en"
            assert answer.headers["dg-char-count"] == str(len(TEXT))
    wav = next(known for known in DEEPGRAM if (known.container, known.rate) == ("wav", 16_000))
    assert outcomes == ["miss", "hit"]
    assert finalise(heard[0], wav) == heard[1]
    assert probe(heard[1], wav).sample_rate == 16_000


async def test_deepgram_client_with_its_defaults(either: House) -> None:
    for _ in range(2):
        audio = await collect(deep(either).speak.v1.audio.generate(text=TEXT))
        assert probe(audio, DEEPGRAM_MP3).sample_rate == 22_050


DEEPGRAM_MP3 = next(known for known in DEEPGRAM if known.codec == "mp3")


async def test_deepgram_client_understands_our_errors(either: House) -> None:
    with pytest.raises(DeepgramError) as refused:
        await collect(deep(either).speak.v1.audio.generate(text=TEXT, callback="http://127.0.0.1/"))
    assert (refused.value.status_code, "calls nobody back" in refused.value.body["err_msg"]) == (400, True)
    with pytest.raises(DeepgramError) as empty:
        await collect(deep(either).speak.v1.audio.generate(text=""))
    assert (empty.value.status_code, empty.value.body["err_code"]) == (400, "INVALID_TEXT")


@pytest.mark.parametrize("audio_format", DEEPGRAM, ids=str)
async def test_every_encoding(either: House, audio_format: Any) -> None:
    answer = await either.http.post("/v1/speak", params=dict(deepgram_query(audio_format)), json={"text": TEXT})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == deepgram_content_type(audio_format)
    assert probe(finalise(answer.content, audio_format), audio_format).duration > 0.5


DEEPGRAM_WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"json": {}}, 400, "INVALID_VALUE"),
    ({"content": b"nothing"}, 400, "INVALID_VALUE"),
    ({"json": {"text": TEXT, "url": "x"}}, 400, "INVALID_VALUE"),
    ({"json": {"text": TEXT}, "params": {"encoding": "vorbis"}}, 400, "UNSUPPORTED_AUDIO_FORMAT"),
    ({"json": {"text": TEXT}, "params": {"sample_rate": "1e9"}}, 400, "INVALID_VALUE"),
    ({"json": {"text": TEXT}, "params": {"sample_rate": "8000.5"}}, 400, "UNSUPPORTED_AUDIO_FORMAT"),
    ({"json": {"text": TEXT}, "params": {"model": "nova-3"}}, 400, "INVALID_MODEL"),
    ({"json": {"text": TEXT}, "params": {"model": "a\r\nset-cookie: b"}}, 400, "INVALID_VALUE"),
    ({"json": {"text": TEXT}, "params": {"colour": "red"}}, 400, "INVALID_VALUE"),
    ({"json": {"text": "a" * 10_001}}, 413, "PAYLOAD_TOO_LARGE"),
]


@pytest.mark.parametrize(("request_", "status", "code"), DEEPGRAM_WRONG)
async def test_what_deepgrams_door_refuses(
    make_house: MakeHouse, request_: dict[str, Any], status: int, code: str
) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    answer = await house.http.post("/v1/speak", **request_)
    assert (answer.status_code, answer.json()["err_code"]) == (status, code)
    assert answer.json()["err_msg"].endswith((".", '"…"'))


async def test_the_highest_bit_rate_that_deepgram_takes(make_house: MakeHouse) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    query = {"encoding": "opus", "bit_rate": 650_000}
    answer = await house.http.post("/v1/speak", json={"text": TEXT}, params=query)
    assert answer.status_code == 200
    assert probe(answer.content, deepgram_format("opus", bit_rate=650_000)).duration > 0.5


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "headers", "told"),
    [
        (SPEECH, lambda key: {"xi-api-key": key}, lambda body: body["detail"]["status"] == "invalid_api_key"),
        ("/v1/speak", lambda key: {"authorization": f"Token {key}"}, lambda body: body["err_code"] == "INVALID_AUTH"),
    ],
)
async def test_keys_in_the_dialects_own_headers(
    make_house: MakeHouse, path: str, headers: Callable[[str], dict[str, str]], told: Callable[[Any], bool]
) -> None:
    from sayonce.access import keys
    from sayonce.access.callers import Role
    from sayonce.catalog.records import Tenant

    house = await make_house(openai_base_url=None, openai_api_key=None)
    await house.gateway.catalog.put_tenant(Tenant("default"))
    _, key = await keys.create(house.gateway.catalog, "default", "", [Role.SPEAK], lambda: 0.0)
    house.gateway.gate.forget_all()
    for wrong in ({}, headers("wrong")):
        answer = await house.http.post(path, json={"text": TEXT}, headers=wrong)
        assert (answer.status_code, told(answer.json())) == (401, True)
    assert (await house.http.post(path, json={"text": TEXT}, headers=headers(key))).status_code == 200


async def test_well_known_voices_are_told_apart(make_house: MakeHouse) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    paths = [f"/v1/text-to-speech/{voice}?output_format=pcm_24000" for voice in (RACHEL, "EXAVITQu4vr4xnSDxMaL")]
    models = ("aura-asteria-en", "aura-2-asteria-en", "aura-2-zeus-en")
    paths += [f"/v1/speak?model={model}&encoding=linear16&container=none" for model in models]
    heard = await asyncio.gather(*(house.http.post(path, json={"text": TEXT}) for path in paths))
    assert len({answer.content for answer in heard}) == len(paths)
    assert {answer.headers["x-tts-provider"] for answer in heard} == {"espeak"}


async def test_one_recipe_whatever_the_door(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs",))
    first = await house.http.post(SPEECH, json={"text": TEXT})
    other = await house.http.post("/api/voice", json={"text": TEXT, "provider": "elevenlabs", "format": "wav"})
    assert (first.headers["x-tts-cache"], other.headers["x-tts-cache"]) == ("miss", "hit")
    assert [word["word"] for word in other.json()["words"]] == TEXT.split()
    assert house.vendors.elevenlabs.counts.calls == 1


async def test_timestamps_while_it_is_said(make_house: MakeHouse) -> None:
    house = await make_house(before=("elevenlabs",))
    house.vendors.elevenlabs.behave(pace=0.03, piece=2_000, seconds=8.0)
    async with house.http.stream("POST", SPEECH + "/stream/with-timestamps", json={"text": TEXT}) as answer:
        lines = answer.aiter_lines()
        first = json.loads(await anext(lines))
        assert (len(first["audio_base64"]) > 0, house.vendors.elevenlabs.counts.finished) == (True, 0)
        rest = [json.loads(line) async for line in lines]
    told = [character for line in [first, *rest] for character in (line["alignment"] or {}).get("characters", [])]
    assert "".join(told) == TEXT
    assert sum(line["alignment"] is not None for line in rest) > 2, "as it comes, not at the end"


@pytest.mark.parametrize("path", [SPEECH, "/v1/speak"])
async def test_a_request_steers_at_every_door(make_house: MakeHouse, path: str) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    plain = await house.http.post(path, json={"text": TEXT})
    marked = await house.http.post(path, json={"text": f"**{TEXT}**"}, headers={"x-sayonce-cleaning": "rules"})
    other = await house.http.post(path, json={"text": TEXT}, headers={"x-sayonce-variation": "1"})
    assert len({answer.headers["x-content-hash"] for answer in (plain, marked, other)}) == 3
    wrong = await house.http.post(path, json={"text": TEXT}, headers={"x-sayonce-variation": "one"})
    assert wrong.status_code in (400, 422)


async def test_methods_that_are_none_in_the_dialect(make_house: MakeHouse) -> None:
    house = await make_house(openai_base_url=None, openai_api_key=None)
    eleven_, deep_ = await house.http.get(SPEECH), await house.http.get("/v1/speak")
    assert (eleven_.status_code, eleven_.json()["detail"]["status"]) == (405, "method_not_allowed")
    assert (deep_.status_code, deep_.json()["err_code"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(("path", "dialect"), [(SPEECH, "elevenlabs"), ("/v1/speak", "deepgram")])
async def test_a_door_binds_no_provider(make_house: MakeHouse, path: str, dialect: str) -> None:
    house = await make_house(
        before=("elevenlabs", "deepgram"),
        chain="openai",
        voices={f"{dialect}/{voice}": {"openai": "nova"} for voice in (RACHEL, "aura-asteria-en")},
        attempts=1,
    )
    named = await house.http.post(path, json={"text": TEXT}, headers={"x-sayonce-chain": "openai"})
    assert (named.status_code, named.headers["x-tts-provider"]) == (200, "openai"), "the chain of the request"

"""`/audio/…`: ranges, revalidation, versions and signatures, as players, browsers and CDNs need them."""

from __future__ import annotations

import time

import pytest

from tests.conftest import House, MakeHouse


async def kept(house: House) -> tuple[str, bytes, str]:
    """The path of an audio, its bytes, and its right version."""
    heard = await house.speak()
    content_hash = heard.headers["x-content-hash"]
    row = (await house.http.get(f"/api/voice/{content_hash}")).json()
    return f"/audio/{content_hash}.mp3", (await house.speak()).audio, row["digest"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-1", 0, 2),
        ("bytes=0-", 0, None),
        ("bytes=100-199", 100, 200),
        ("bytes=-50", -50, None),
        ("bytes=0-99999999", 0, None),
        ("Bytes = 5 - 9", 5, 10),
    ],
)
async def test_ranges_as_players_send_them(house: House, asked: str, start: int, end: int | None) -> None:
    path, audio, _ = await kept(house)
    answer = await house.http.get(path, headers={"range": asked})
    assert (answer.status_code, answer.content) == (206, audio[start:end])
    first = start % len(audio)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(audio)}"


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-", "bytes=" + "1-2," * 9_000]
)
async def test_ranges_that_mean_nothing_give_all(house: House, asked: str) -> None:
    path, audio, _ = await kept(house)
    answer = await house.http.get(path, headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, audio)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
async def test_ranges_outside(house: House, asked: str) -> None:
    path, audio, _ = await kept(house)
    answer = await house.http.get(path, headers={"range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(audio)}")


async def test_revalidation_and_head(house: House) -> None:
    path, audio, digest = await kept(house)
    whole = await house.http.get(path)
    assert whole.headers["etag"] == f'"{digest}"'
    assert whole.headers["cache-control"] == "private, no-cache"
    same = await house.http.get(path, headers={"if-none-match": f'W/"x", "{digest}"'})
    assert (same.status_code, same.content) == (304, b"")
    head = await house.http.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(audio)))
    part = await house.http.get(path, headers={"range": "bytes=0-1", "if-range": '"another"'})
    assert part.status_code == 200


async def test_versions(house: House) -> None:
    path, _, digest = await kept(house)
    right = await house.http.get(f"{path}?v={digest}")
    assert right.headers["cache-control"] == "private, max-age=31536000, immutable"
    for wrong in ("0" * 64, "", digest[:32], digest.upper()):
        assert (await house.http.get(f"{path}?v={wrong}")).status_code == (200 if wrong == "" else 404)
    assert (await house.http.get(path.replace(".mp3", ".wav"))).status_code == 404


async def test_signed_urls(make_house: MakeHouse) -> None:
    passed = [0.0]
    house = await make_house(
        url_seconds=60, clock=lambda: time.time() + passed[0], public_url="https://speech.example"
    )
    url = (await house.http.post("/api/voice", json={"text": "Signed."})).json()["url"]
    assert url.startswith("https://speech.example/audio/")
    path = url.removeprefix("https://speech.example")
    answer = await house.http.get(path)
    assert answer.status_code == 200
    assert 0 < int(answer.headers["cache-control"].split("max-age=")[1].split(",")[0]) <= 60
    for tampered in (path.replace("exp=1", "exp=2"), path[:-1] + ("0" if path[-1] != "0" else "1"), path + "é"):
        assert (await house.http.get(tampered)).status_code == 404
    passed[0] = 61
    assert (await house.http.get(path)).status_code == 404


async def test_a_signed_url_never_outlives_its_audio(make_house: MakeHouse) -> None:
    house = await make_house(keep="5m", url_seconds=3_600)
    url = (await house.http.post("/api/voice", json={"text": "Brief."})).json()["url"]
    expires = int(url.split("exp=")[1].split("&")[0])
    assert expires <= time.time() + 300

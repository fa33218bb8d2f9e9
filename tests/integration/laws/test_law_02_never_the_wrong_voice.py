"""Law 2: what speaks differently has another recipe."""

from __future__ import annotations

from tests.conftest import House, MakeHouse


async def test_every_option_is_another_recipe(house: House) -> None:
    asked = [
        {},
        {"voice": "onyx"},
        {"model": "gpt-4o-mini-tts"},
        {"speed": 1.5},
        {"instructions": "Softly."},
        {"variation": 1},
    ]
    heard = [await house.speak(**one) for one in asked]
    assert [answer.outcome for answer in heard] == ["miss"] * len(asked)
    assert len({answer.headers["x-content-hash"] for answer in heard}) == len(asked)


async def test_a_changed_upstream_is_another_recipe(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.speak()
    moved = await make_house(openai_base_url=house.gateway.settings.openai_base_url.replace("127.0.0.1", "localhost"))
    assert (await moved.speak()).outcome == "miss"
    assert (await house.speak()).outcome == "hit"


async def test_upstreams_of_one_dialect_do_not_share(make_house: MakeHouse) -> None:
    house = await make_house()
    url = house.gateway.settings.openai_base_url
    both = await make_house(
        upstreams={
            "one": {"provider": "openai", "base_url": url, "identity": "one", "models": ["kokoro"]},
            "two": {"provider": "openai", "base_url": url, "identity": "two"},
        }
    )
    heard = [await both.speak(model="kokoro", voice=f"{name}/nova") for name in ("one", "two")]
    assert [answer.headers["x-tts-provider"] for answer in heard] == ["one", "two"]
    assert [answer.outcome for answer in heard] == ["miss", "miss"]


async def test_the_wrong_bytes_at_a_path_are_a_miss(house: House) -> None:
    """Somebody else's audio where ours was, whole and decodable, is not served."""
    ours, theirs = await house.speak("Ours."), await house.speak("Theirs, of all things.")
    [blob] = [path for path in house.blobs() if ours.headers["x-content-hash"] in path.name]
    blob.write_bytes(theirs.audio)
    house.gateway.hot.clear()
    again = await house.speak("Ours.")
    assert (again.outcome, again.audio) == ("miss", ours.audio)
    house.gateway.hot.clear()
    assert (await house.speak("Ours.")).outcome == "hit"

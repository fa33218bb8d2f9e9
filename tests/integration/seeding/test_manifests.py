"""What a manifest says, and what is said beside it."""

from __future__ import annotations

from typing import Any

import pytest

from sayonce.batch.manifest import Bounds, Items, Manifest, head_of
from tests.conftest import House, MakeHouse

ROWS = [{"text": "One."}, {"text": "Two.", "voice": "alloy", "format": "wav"}]


def said(house: House, head: dict[str, Any], **given: object) -> list[tuple[str, str | None, str]]:
    """The text, voice and format of each thing to say; nothing may be wrong."""
    rows = Items(head, ROWS)
    manifest = Manifest(head_of(rows, **given), rows, house.gateway.cast, Bounds("default", 1_000))
    orders = [text.order for text in manifest.texts(lambda place, why: pytest.fail(f"{place}: {why}"))]
    return [(order.recipe.text, order.recipe.voice, order.format.container) for order in orders]


async def test_a_row_goes_above_its_head(house: House) -> None:
    assert said(house, {"voice": "nova", "formats": ["mp3"]}) == [("One.", "nova", "mp3"), ("Two.", "alloy", "wav")]


@pytest.mark.parametrize("head", [{}, {"voice": "echo", "format": "opus"}, {"voices": ["echo"], "formats": ["opus"]}])
async def test_what_is_said_beside_a_manifest_goes_above_all_of_it(house: House, head: dict[str, Any]) -> None:
    both = {"voices": ["nova"], "formats": ["flac"]}
    assert said(house, head, **both) == [("One.", "nova", "flac"), ("Two.", "nova", "flac")]
    assert said(house, head, voices=["nova"])[1] == ("Two.", "nova", "wav")
    assert said(house, head, formats=["flac"])[1] == ("Two.", "alloy", "flac")


async def test_a_voice_beside_it_may_name_another_upstream(make_house: MakeHouse) -> None:
    house = await make_house(before=("openai", "elevenlabs"), chain="openai,elevenlabs")
    rows = Items({"provider": "openai", "model": "tts-1-hd"}, [{"text": "One.", "provider": "openai"}])
    for voice, upstream, model in (
        ("openai/nova", "openai", "tts-1-hd"),
        ("nova", "openai", "tts-1-hd"),
        ("elevenlabs/21m00Tcm4TlvDq8ikWAM", "elevenlabs", None),
    ):
        manifest = Manifest(head_of(rows, voices=[voice]), rows, house.gateway.cast, Bounds("default", 1_000))
        [text] = manifest.texts(lambda place, why: pytest.fail(f"{place}: {why}"))
        made = text.order
        assert (made.provider.upstream.name, made.recipe.voice) == (upstream, voice.rpartition("/")[2])
        assert model in (None, made.recipe.model)


@pytest.mark.parametrize("word", ["name", "collection"])
async def test_a_name_beside_it_is_its_name(house: House, word: str) -> None:
    assert head_of(Items({word: "one"}, ROWS), name="another").name == "another"
    assert head_of(Items({word: "one"}, ROWS)).name == "one"


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ({"name": ".."}, {"text": "Hi."}, "it is no name that an address can end in"),
        ({"keep": "soon"}, {"text": "Hi."}, "it must be 'forever'"),
        ({}, {"text;voice": "Hi.;nova"}, "The cells of a CSV are separated by commas"),
        ({}, {"text": "Hi.", "options": "[7]"}, "it should be an object"),
        ({}, {"text": "Hi.", "options": '{"tempo": 1}'}, "tempo"),
    ],
)
async def test_what_is_wrong_is_said_in_our_words(
    house: House, head: dict[str, Any], row: dict[str, Any], said: str
) -> None:
    answer = await house.http.post("/api/seeds", json={**head, "plan": True, "items": [row]})
    assert answer.status_code == 400
    told = answer.json()["error"]
    assert said in f"{told['message']} {told.get('remedy', '')}"
    assert "Value error" not in told["message"]

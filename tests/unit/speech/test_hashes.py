"""The two hashes: a golden file, and what must hold for every recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayonce.errors import InvalidRequest
from sayonce.speech import canonical
from sayonce.speech.formats import BY_NAME, MP3, PCM, AudioFormat
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import Owner, Scope, SpeechRequest, Upstream

GOLDEN = json.loads(Path(__file__).with_name("golden_hashes.json").read_text())
UPSTREAM = Upstream("openai", "openai:api.openai.com:443/v1", model="tts-1", voice="alloy")

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
maybe = st.none() | names


def request_of(case: dict[str, Any]) -> SpeechRequest:
    told = dict(case)
    owner = told.pop("owner", {})
    if "scope" in owner:
        owner["scope"] = Scope(owner["scope"])
    return SpeechRequest(**told, owner=Owner(**owner))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["about"])
def test_golden(case: dict[str, Any]) -> None:
    recipe = recipe_of(request_of(case["request"]), Upstream(**case["upstream"]))
    assert recipe.hash.hex() == case["recipe_hash"]
    assert {name: recipe.content_hash(fmt).hex() for name, fmt in BY_NAME.items()} == case["content_hashes"]


def test_worked_by_hand() -> None:
    """The example of docs/hashes.md, byte by byte."""

    def field(name: bytes, value: bytes) -> bytes:
        return len(name).to_bytes(4, "big") + name + len(value).to_bytes(4, "big") + value

    by_hand = hashlib.sha256(
        b"sayonce recipe"
        + field(b"normaliser", b"1")
        + field(b"tenant", b"default")
        + field(b"text", b"Hi.")
        + field(b"upstream", b"espeak")
        + field(b"voice", b"alloy")
    ).digest()
    recipe = recipe_of(SpeechRequest(text=" Hi.\n"), Upstream("espeak", "espeak", voice="alloy"))
    assert recipe.hash == by_hand
    assert recipe.content_hash(PCM) == hashlib.sha256(b"sayonce asset" + by_hand + b"pcm_s16le/raw/24000/-").digest()


@given(st.dictionaries(names, names), st.dictionaries(names, names))
def test_fields_are_injective(one: dict[str, str], other: dict[str, str]) -> None:
    assert (canonical.fields(one) == canonical.fields(other)) == (one == other)


recipes = st.builds(
    Recipe,
    text=names,
    upstream=names,
    owner=st.builds(Owner, tenant=names, scope=st.sampled_from(Scope), user=names, session=names),
    model=maybe,
    voice=maybe,
    language=maybe,
    speed=st.sampled_from(["1", "1.5"]),
    pitch=st.sampled_from(["0", "2"]),
    style=maybe,
    instructions=maybe,
    options=st.sampled_from(["{}", '{"a":1}']),
    variation=st.integers(0, 3),
    cleaner=maybe,
)


@given(recipes, recipes)
def test_recipes_are_injective(one: Recipe, other: Recipe) -> None:
    assert (one.hash == other.hash) == (one.fields() == other.fields())


@given(recipes, st.data())
def test_every_field_counts(recipe: Recipe, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from([f.name for f in fields(Recipe) if f.name not in ("owner", "normaliser")]))
    values = {"speed": "2", "pitch": "3", "options": '{"b":2}', "variation": 9}
    other = replace(recipe, **{changed: values.get(changed, "something else")})
    assert other.hash != recipe.hash


def test_defaults_are_filled_in_first() -> None:
    left_out = recipe_of(SpeechRequest(text="Hi."), UPSTREAM)
    spelt_out = recipe_of(SpeechRequest(text="Hi.", model="tts-1", voice="alloy"), UPSTREAM)
    assert left_out.hash == spelt_out.hash


@given(st.sampled_from([1, 1.0, 1.00]), st.sampled_from([0, 0.0, -0.0]))
def test_neutral_values_are_left_out(speed: float, pitch: float) -> None:
    neutral = SpeechRequest(text="Hi.", speed=speed, pitch=pitch, options={"seed": None}, variation=0)
    assert recipe_of(neutral, UPSTREAM).hash == recipe_of(SpeechRequest(text="Hi."), UPSTREAM).hash


@pytest.mark.parametrize(("number", "spelling"), [(1.50, "1.5"), (2, "2"), (1e-7, "0.0000001"), (100.0, "100")])
def test_numbers_have_one_spelling(number: float, spelling: str) -> None:
    assert canonical.number(number, param="speed") == spelling


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(InvalidRequest, match="finite"):
        recipe_of(SpeechRequest(text="Hi.", speed=number), UPSTREAM)


def test_options_are_canonical_json() -> None:
    one = SpeechRequest(text="Hi.", options={"b": 1.0, "a": [True, None]})
    other = SpeechRequest(text="Hi.", options={"a": [True, None], "b": 1})
    assert recipe_of(one, UPSTREAM).hash == recipe_of(other, UPSTREAM).hash


def test_a_fallbacks_recipe_is_its_own() -> None:
    request = SpeechRequest(text="Hi.", voice="alloy")
    assert recipe_of(request, UPSTREAM).hash != recipe_of(request, Upstream("b", "b")).hash


def test_scopes_part_and_shared_joins() -> None:
    def hash_for(tenant: str, scope: Scope, **who: str) -> bytes:
        return recipe_of(SpeechRequest(text="Hi.", owner=Owner(tenant, scope, **who)), UPSTREAM).hash

    assert hash_for("a", Scope.SHARED) == hash_for("b", Scope.SHARED)
    assert hash_for("a", Scope.TENANT) != hash_for("b", Scope.TENANT)
    assert hash_for("a", Scope.USER, user="x") != hash_for("a", Scope.USER, user="y")
    assert hash_for("a", Scope.SESSION, session="x") != hash_for("a", Scope.USER, user="x")
    assert hash_for("a", Scope.TENANT, user="x") == hash_for("a", Scope.TENANT)


@pytest.mark.parametrize("scope", [Scope.USER, Scope.SESSION])
def test_a_scope_without_its_owner_is_refused(scope: Scope) -> None:
    with pytest.raises(InvalidRequest, match="needs to know"):
        recipe_of(SpeechRequest(text="Hi.", owner=Owner("a", scope)), UPSTREAM)


def test_lone_surrogates_are_refused_in_every_field() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        _ = recipe_of(SpeechRequest(text="Hi.", voice="\ud800"), UPSTREAM).hash


@given(st.builds(AudioFormat, names.filter(lambda n: "/" not in n), names.filter(lambda n: "/" not in n)))
def test_formats_read_as_they_are_written(fmt: AudioFormat) -> None:
    assert AudioFormat.parse(str(fmt)) == fmt
    assert str(MP3) == "mp3/mp3/-/-"

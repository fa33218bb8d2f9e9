"""Path templates: every value safe, no two alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayonce.errors import InvalidSettings
from sayonce.storage.paths import DEFAULT, PathTemplate, safe, validated

values = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)
FIELDS = {"hash": "ab" * 32, "digest": "cd" * 32, "ext": "mp3", "tenant": "acme", "provider": "openai"}


@given(values, values)
def test_no_two_values_share_a_segment(one: str, other: str) -> None:
    assert (safe(one).lower() == safe(other).lower()) == (one == other)


@given(values)
def test_every_value_is_one_valid_segment(value: str) -> None:
    assert "/" not in safe(value)
    assert validated(safe(value)) == safe(value)
    assert len(safe(value)) <= 82


@pytest.mark.parametrize(
    "value", ["..", ".", "con", "NUL", "a/b", "a\\b", "🙂", "%2e", "~", "a.", "\0", "COM1.txt", "a" * 500]
)
def test_tricks(value: str) -> None:
    path = PathTemplate("{user}/{hash}.mp3").render(FIELDS | {"user": value})
    assert path.count("/") == 1
    assert not path.startswith((".", "/"))
    assert path.partition("/")[0].partition(".")[0].lower() not in ("con", "nul", "com1")


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (DEFAULT, f"audio/ab/{'ab' * 32}-{'cd' * 32}.mp3"),
        ("{collection}/{hash}.mp3", f"life-review/{'ab' * 32}.mp3"),
        ("tts/{tenant}/{provider}/{hash}.mp3", f"tts/acme/openai/{'ab' * 32}.mp3"),
        ("tts_audio/{user}/{thread}/{message}.mp3", "tts_audio/=41nn/t1/m1.mp3"),
        ("audio-chunks/{yyyy}/{mm}/{dd}/{session}/{hash}.opus", f"audio-chunks/2026/11/20/s1/{'ab' * 32}.opus"),
    ],
)
def test_layouts(template: str, path: str) -> None:
    more = {"collection": "life-review", "user": "Ann", "thread": "t1", "message": "m1", "session": "s1"}
    assert PathTemplate(template).render(FIELDS | more | {"yyyy": "2026", "mm": "11", "dd": "20"}) == path


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{hash",
        "{nonsense}/{hash}",
        "{tenant}.mp3",
        "/{hash}",
        "../{hash}",
        "a//{hash}",
        "{hash}/é",
        "{hash}\\x",
        "{}",
    ],
)
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(InvalidSettings, match="path template"):
        PathTemplate(template)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidSettings, match="'session'"):
        PathTemplate("{session}/{hash}").render(FIELDS)


def test_whether_new_bytes_have_a_new_path() -> None:
    assert PathTemplate().names_bytes
    assert not PathTemplate("{hash}.mp3").names_bytes

"""What is written beside a blob says all of its asset that a new catalog needs."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from sayonce.cache.metadata import asset_of, blob_metadata
from sayonce.catalog.records import Asset, Blob
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import BY_NAME, TELEPHONE, AudioFormat
from sayonce.speech.requests import Owner, Scope
from sayonce.testing.catalogs import asset

PLACE = ("local", "audio/x.mp3")


def full() -> Asset:
    """An asset in which no field has the value that it would have if it were forgotten."""
    return asset(
        "a",
        owner=Owner("acme", Scope.USER, user="Grün, 🙂; =é"),
        language="pt-BR",
        transcoded=True,
        flags=frozenset({"implausible", "another"}),
        marks=(Mark(0.1, 1 / 3, 0, 3, "word"), Mark(1 / 3, 1e-07, 4, 1, "estimated")),
        made_at=1_763_712_000.123456,
        duration=1 / 7,
    )


def again(kept: Asset) -> Asset:
    """The asset as it is read back, by whatever way the metadata went."""
    told = json.loads(json.dumps(blob_metadata(kept, "c")))
    assert all(isinstance(value, str) and value for value in told.values())
    return asset_of(told, PLACE, kept.size)


def as_written(kept: Asset) -> Asset:
    return replace(kept, text=None, until=None, blobs=(Blob(*PLACE, kept.digest),))


def test_all_of_an_asset_comes_back() -> None:
    assert again(full()) == as_written(full())


def test_no_field_is_forgotten() -> None:
    """A field added later must be told, too: each differs here from what a bare asset has."""
    bare = again(replace(full(), **BARE))
    whole = again(full())
    same = [each.name for each in fields(Asset) if getattr(bare, each.name) == getattr(whole, each.name)]
    assert same == ["text", "until"], "only a catalog holds these"


BARE: dict[str, Any] = {
    "content_hash": b"c" * 32,
    "recipe_hash": b"r" * 32,
    "format": BY_NAME["wav"],
    "owner": Owner(),
    "upstream": "espeak",
    "model": None,
    "voice": None,
    "language": None,
    "characters": 1,
    "size": 1,
    "digest": b"d" * 32,
    "duration": 1.0,
    "sample_rate": 8_000,
    "marks": (),
    "cost": None,
    "transcoded": False,
    "flags": frozenset(),
    "made_at": 1.0,
}


@pytest.mark.parametrize(
    "other",
    [
        BARE,
        {"cost": 0},
        {"owner": Owner("t", Scope.SESSION, session="s")},
        {"owner": Owner("t", Scope.SHARED)},
        *(
            {"format": each}
            for each in [*BY_NAME.values(), *TELEPHONE.values(), AudioFormat("mp3", "mp3", 44_100, 1)]
        ),
    ],
    ids=str,
)
def test_what_may_be_missing_or_otherwise(other: dict[str, Any]) -> None:
    kept = replace(full(), **other)
    assert again(kept) == as_written(kept)


@pytest.mark.parametrize(
    "wrong",
    [
        {"content_hash": "zz"},
        {"format": "mp3"},
        {"format": "mp3/mp3/x/-"},
        {"scope": "galaxy"},
        {"owner": None},
        {"digest": None},
        {"characters": "many"},
        {"marks": "1,2"},
        {"made_at": None},
        {"tenant": 5},
    ],
    ids=str,
)
def test_what_tells_of_no_asset(wrong: dict[str, Any]) -> None:
    told = {name: value for name, value in (blob_metadata(full(), "c") | wrong).items() if value is not None}
    with pytest.raises(ValueError, match="metadata"):
        asset_of(told, PLACE, 1)

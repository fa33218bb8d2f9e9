"""The hot tier: bounded, scan-resistant, and nothing is remembered that was to be forgotten."""

from __future__ import annotations

import hashlib

import pytest

from sayonce.cache.hot import HotTier
from sayonce.cache.orders import Clip
from sayonce.catalog.records import Asset, Blob
from sayonce.speech.formats import MP3
from sayonce.speech.requests import Owner


def clip(name: str, size: int = 10_000, until: float | None = None, recipe: str | None = None) -> Clip:
    digest = hashlib.sha256(name.encode()).digest()
    asset = Asset(
        content_hash=digest,
        recipe_hash=hashlib.sha256((recipe or name).encode()).digest(),
        format=MP3,
        owner=Owner(),
        upstream="x",
        model=None,
        voice=None,
        language=None,
        text=None,
        characters=1,
        size=size,
        digest=digest,
        duration=1.0,
        sample_rate=1,
        marks=(),
        cost=None,
        transcoded=False,
        flags=frozenset(),
        made_at=0.0,
        until=until,
        blobs=(Blob("local", name, digest),),
    )
    return Clip(asset, bytes(size))


def put(hot: HotTier, *clips: Clip) -> None:
    for one in clips:
        hot.put(one, hot.epoch)


def test_it_is_bounded_by_bytes() -> None:
    hot = HotTier(1_000_000, lambda: 0.0)
    put(hot, *(clip(str(n)) for n in range(1_000)))
    hot._clips.run_pending_tasks()
    assert hot.weight <= 1_000_000
    assert 60 < hot.entries <= 80
    put(hot, clip("huge", 2_000_000))
    hot._clips.run_pending_tasks()
    assert hot.get(clip("huge").asset.content_hash) is None


def test_a_scan_does_not_drive_out_what_is_asked_for_often() -> None:
    hot = HotTier(1_000_000, lambda: 0.0)
    often = [clip(f"often {n}") for n in range(20)]
    put(hot, *often)
    for _ in range(10):
        for one in often:
            hot.get(one.asset.content_hash)
    put(hot, *(clip(f"once {n}") for n in range(2_000)))
    hot._clips.run_pending_tasks()
    assert sum(hot.get(one.asset.content_hash) is not None for one in often) >= 18


def test_what_expired_is_gone() -> None:
    now = [0.0]
    hot = HotTier(1_000_000, lambda: now[0])
    brief = clip("brief", until=10.0)
    put(hot, brief)
    assert hot.get(brief.asset.content_hash) is brief
    now[0] = 10.0
    assert hot.get(brief.asset.content_hash) is None


def test_a_recipe_is_forgotten_in_every_format() -> None:
    hot = HotTier(1_000_000, lambda: 0.0)
    one, two, other = clip("a.mp3", recipe="a"), clip("a.wav", recipe="a"), clip("b.mp3", recipe="b")
    put(hot, one, two, other)
    hot.forget_recipe(one.asset.recipe_hash)
    assert [hot.get(each.asset.content_hash) for each in (one, two, other)] == [None, None, other]


@pytest.mark.parametrize("forget", ["name", "recipe", "all", "too much"])
def test_what_was_looked_up_before_it_was_forgotten_is_not_remembered(
    forget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sayonce.cache.hot._NOTED", 2)
    hot = HotTier(1_000_000, lambda: 0.0)
    stale = clip("stale", recipe="a")
    epoch = hot.epoch
    match forget:
        case "name":
            hot.forget(stale.asset.content_hash)
        case "recipe":
            hot.forget_recipe(stale.asset.recipe_hash)
        case "all":
            hot.clear()
        case _:
            for name in ("one", "two", "three"):
                hot.forget(clip(name).asset.content_hash)
    hot.put(stale, epoch)
    assert hot.get(stale.asset.content_hash) is None
    put(hot, stale)
    assert hot.get(stale.asset.content_hash) is stale


def test_what_else_was_forgotten_meanwhile_keeps_nothing_from_being_remembered() -> None:
    hot = HotTier(1_000_000, lambda: 0.0)
    paid, other = clip("paid"), clip("other")
    epoch = hot.epoch
    hot.forget(other.asset.content_hash)
    hot.forget_recipe(other.asset.recipe_hash)
    hot.put(paid, epoch)
    assert hot.get(paid.asset.content_hash) is paid

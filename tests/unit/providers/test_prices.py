"""List prices: what a model costs, and one price for all that a vendor makes."""

from __future__ import annotations

from typing import Any

import pytest

from sayonce.providers import prices, registry
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest


@pytest.mark.parametrize(
    ("table", "model", "price"),
    [
        ({"aura": 15, "aura-2": 30.0}, "aura-asteria-en", 15.0),
        ({"aura": 15, "aura-2": 30.0}, "aura-2-thalia-en", 30.0),
        ({"aura": 15}, "another", None),
        ({"aura": 15}, None, None),
        ({"default": 12}, None, 12.0),
        ({"default": 12, "aura": 15}, "another", 12.0),
        ({"default": True, "as_of": "2026-11-20"}, None, None),
    ],
)
def test_what_a_table_says(
    table: dict[str, Any], model: str | None, price: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "_table", lambda: {"acme": table})
    assert prices.list_price("acme", model) == price
    assert prices.list_price("nobody", model) is None


@pytest.mark.parametrize("url", ["https://api.deepgram.com", "https://api.deepgram.com/v1/"])
def test_they_hold_at_the_vendors_own_address(url: str) -> None:
    deepgram = registry.make("mine", "deepgram", {"base_url": url})
    recipe = recipe_of(SpeechRequest(text="a" * 1_000), deepgram.upstream)
    assert deepgram.price(recipe) == pytest.approx(0.015)

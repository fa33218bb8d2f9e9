"""What vendors take: their list prices, as a dated data file that settings override."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


def list_price(vendor: str, model: str | None) -> float | None:
    """USD per million characters; None where no price is published. A dated model (`tts-1-1106`) costs what the
    model does that its name begins with."""
    prices = {name: price for name, price in _table().get(vendor, {}).items() if isinstance(price, float)}
    known = [name for name in prices if model is not None and (model == name or model.startswith(f"{name}-"))]
    return prices[max(known, key=len)] if known else None


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files("sayonce.providers").joinpath("prices.toml").read_text(encoding="utf-8"))

"""What vendors take: their list prices, as a dated data file that settings override."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


def list_price(vendor: str, model: str | None) -> float | None:
    """USD per million characters; None where no price is published. A dated model (`tts-1-1106`) costs what the
    model does that its name begins with; one that is not named, or none, what `default` says."""
    prices = {name: float(price) for name, price in _table().get(vendor, {}).items() if _is_number(price)}
    known = [name for name in prices if model is not None and (model == name or model.startswith(f"{name}-"))]
    return prices.get(max(known, key=len, default="default"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files("sayonce.providers").joinpath("prices.toml").read_text(encoding="utf-8"))

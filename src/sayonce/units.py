"""Sizes, spans of time and lists, as people write them in settings."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+) ?(B|KB|MB|GB)?", re.IGNORECASE)
_SPAN = re.compile(r"(\d+) ?(s|m|h|d)", re.IGNORECASE)
_UNITS = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_SPANS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

_LONGEST = 36_525 * 86_400


def size(value: object) -> object:
    """`256 MB` as bytes."""
    if not isinstance(value, str):
        return value
    if found := _SIZE.fullmatch(value.strip()):
        return int(found[1]) * _UNITS[(found[2] or "B").upper()]
    raise ValueError("must be a size, such as 64000000 or '64 MB'")


def span(value: object) -> object:
    """`30d` as seconds, `forever` as None."""
    if value == "forever":
        return None
    if not isinstance(value, str):
        return value
    seconds: float | None = None
    if found := _SPAN.fullmatch(value.strip()):
        seconds = int(found[1]) * _SPANS[found[2].lower()]
    elif value.strip().replace(".", "", 1).isdecimal():
        seconds = float(value)
    if seconds is None or seconds > _LONGEST:
        raise ValueError("must be 'forever', seconds, or such as '30d', '12h', '5m', and at most a hundred years")
    return seconds


def retention(value: str) -> tuple[float | None, bool]:
    """`30d` as seconds, `forever` as None, and whether it says `sliding` after it. ValueError where it is neither."""
    told, _, how = value.strip().partition(" ")
    seconds = span(told)
    if how.strip() not in ("", "sliding") or (seconds is None and how) or not isinstance(seconds, float | int | None):
        raise ValueError("must be 'forever', or such as '30d', '12h', '5m', or '30d sliding'")
    return seconds, bool(how)


def listed(value: object) -> object:
    """`a, b` as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

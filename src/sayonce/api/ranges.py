"""Byte ranges, as media players ask for them (RFC 9110, section 14)."""

from __future__ import annotations

import re

# One range. A request for several is answered in full, as it may be; no header makes this take long.
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Unsatisfiable(ValueError):
    """The range lies wholly outside of what there is."""


def parse(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last, of `size`; None where all is to be sent."""
    found = _RANGE.fullmatch(header.strip().lower().replace(" ", "")) if len(header) < 64 else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or end <= start:
        raise Unsatisfiable
    return start, end

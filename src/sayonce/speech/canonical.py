"""The bytes that hashes are made of: one spelling for every set of fields, and no two sets with one spelling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

import rfc8785

from sayonce.errors import InvalidRequest

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def fields(values: Mapping[str, str]) -> bytes:
    """Each name and value in UTF-8, each with its length before it in four big-endian bytes, in name order."""
    try:
        return b"".join(_prefixed(name) + _prefixed(values[name]) for name in sorted(values))
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "A field holds a lone surrogate, which is no character.", remedy="Send valid Unicode."
        ) from error


def _prefixed(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(4, "big") + raw


def number(value: float, *, param: str) -> str:
    """One spelling of a number: 1, 1.0 and 1.00 are `1`. InvalidRequest for what is not a finite number."""
    if not math.isfinite(value):
        raise InvalidRequest(f"'{param}' is not a finite number.", param=param, remedy="Send a plain number.")
    return format(Decimal(repr(value)).normalize() + 0, "f")


def json(value: Mapping[str, Json], *, param: str) -> str:
    """RFC 8785's canonical JSON; InvalidRequest for what JSON cannot say the same way everywhere."""
    try:
        return rfc8785.dumps(dict(value)).decode()
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidRequest(
            f"'{param}' has a value that has no canonical form in JSON.",
            param=param,
            remedy="Use text, finite numbers, true, false, null, lists and objects, not too deep.",
        ) from error

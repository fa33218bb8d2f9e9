"""Settings as people may see them: without their secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

_USER_IN_URL = re.compile(r"(://)[^/@]+@")
_QUERY_IN_URL = re.compile(r"(://[^?\s]+\?).+")
_SECRET_NAMES = re.compile(r"key|token|secret|password|headers|credential|^(body|form|raw|query)$", re.IGNORECASE)


def shown(value: object, none: str = "") -> str:
    """A setting's value as a line of text; `none` is what None is called."""
    match value:
        case None:
            return none
        case SecretStr():
            return "…"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ", ".join(map(str, value))
        case Mapping():
            return str(_struck(value)) if value else ""
        case str():
            return str(_struck(value))
        case _:
            return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _struck(value: Any, name: str = "") -> Any:
    """A value without its secrets: those that their names tell, and the user's part of an address."""
    if _SECRET_NAMES.search(name):
        return "…"
    match value:
        case Mapping():
            return {key: _struck(inner, key) for key, inner in value.items()}
        case list() | tuple():
            return [_struck(inner) for inner in value]
        case str():
            return _QUERY_IN_URL.sub(r"\1…", _USER_IN_URL.sub(r"\1…@", value))
        case _:
            return value

"""Templates in settings: `{name}` stands for a value, which is put in as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import quote

_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_-]+)?)\}")

# What placeholders stand for; one that is absent has no value.
Values: TypeAlias = Mapping[str, Any]

_ABSENT = object()


def names_of(template: Any) -> set[str]:
    """What a template's placeholders name, be it a text, a list or a table."""
    match template:
        case str():
            return set(_PLACEHOLDER.findall(template))
        case Mapping():
            return set().union(*(names_of(value) for value in template.values()))
        case list() | tuple():
            return set().union(*(names_of(value) for value in template))
        case _:
            return set()


def filled(template: Any, values: Values) -> Any:
    """The template with its values. A text that is one placeholder becomes that value, a number a number; a table's
    or list's entry whose placeholder has none is left out."""
    value = _filled(template, values)
    return None if value is _ABSENT else value


def in_query(template: Mapping[str, str], values: Values) -> dict[str, str]:
    """A query's or a form's parameters, all as texts."""
    return {name: str(value) for name, value in filled(dict(template), values).items()}


def in_url(template: str, values: Values) -> str:
    """A URL with its values escaped, so that none of them reaches past its place."""
    return _PLACEHOLDER.sub(lambda found: _escaped(str(values.get(found[1], ""))), template)


def _escaped(value: str) -> str:
    # A segment of dots alone would lead up the path.
    return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")


def _filled(template: Any, values: Values) -> Any:
    match template:
        case str():
            return _text(template, values)
        case Mapping():
            pairs = ((name, _filled(value, values)) for name, value in template.items())
            return {name: value for name, value in pairs if value is not _ABSENT}
        case list() | tuple():
            return [value for value in (_filled(each, values) for each in template) if value is not _ABSENT]
        case _:
            return template


def _text(template: str, values: Values) -> Any:
    whole = _PLACEHOLDER.fullmatch(template)
    if whole is not None:
        return values.get(whole[1], _ABSENT)
    if any(name not in values for name in _PLACEHOLDER.findall(template)):
        return _ABSENT
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), template)

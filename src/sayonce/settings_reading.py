"""How settings are read from the environment, and what is said of those that are wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from sayonce.audio.formats import any_format_of
from sayonce.errors import InvalidSettings, UnsupportedFormat

_TABLES = ("UPSTREAMS", "STORAGES", "VOICES", "CLEANER", "STORAGE_PRICES")


def refuse_unknown_names(settings: Collection[str], prefix: str) -> None:
    """InvalidSettings where a variable with that prefix is none of the settings'."""
    known = {*settings, f"{prefix}CONFIG"}
    tables = {prefix + name for name in _TABLES}
    for name in os.environ:
        whole, nested, _ = name.upper().partition("__")
        if not whole.startswith(prefix) or (whole in known and (not nested or whole in tables)):
            continue
        near = get_close_matches(whole, known, n=1, cutoff=0.7)
        raise InvalidSettings(
            f"The environment names a setting that there is not: {name}.",
            remedy=f"Did you mean {near[0]}?" if near else "docs/settings.md tells of them all.",
        )


def audio_format(name: str) -> str:
    """A format's public name."""
    try:
        any_format_of(name)
    except UnsupportedFormat as error:
        raise ValueError(str(error)) from error
    return name


def decoded(value: Any) -> Any:
    """A list or a table that the environment could only give as JSON."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def path(location: tuple[int | str, ...]) -> str:
    """Where in the settings something is."""
    return ".".join(map(str, location))


def why(wrong: Mapping[str, Any], names: Sequence[str]) -> str:
    """What is wrong with a setting; `names` are those there are."""
    if wrong["type"] == "extra_forbidden":
        near = get_close_matches(str(wrong["loc"][-1]), names, n=1)
        return "there is no such setting" + (f"; did you mean '{near[0]}'?" if near else "")
    return str(wrong["msg"]).removeprefix("Value error, ").rstrip(".")

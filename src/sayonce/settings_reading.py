"""How settings are read from the environment, and what is said of those that are wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from sayonce.audio.formats import any_format_of
from sayonce.errors import InvalidSettings, UnsupportedFormat

_LIMIT = re.compile(r"[1-9]\d{0,8} ?(/|per) ?([1-9]\d{0,3} ?)?(second|minute|hour|day|month)s?")
_TABLES = ("UPSTREAMS", "STORAGES", "VOICES", "CLEANER", "STORAGE_PRICES", "SCHEDULES")


def refused(wrong: Sequence[str], file: Path | None) -> InvalidSettings:
    """What is said of settings of which each line tells one fault; `file` is the one that was read."""
    lines = "".join(f"\n  {each}" for each in wrong)
    return InvalidSettings(
        f"Settings are wrong ({file or 'no settings file'}; docs/settings.md tells of them all):{lines}"
    )


def unknown_names(settings: Collection[str], prefix: str) -> list[str]:
    """A line for each variable with that prefix that is none of the settings'."""
    known = {*settings, f"{prefix}CONFIG"}
    tables = {prefix + name for name in _TABLES}
    wrong = []
    for name in os.environ:
        whole, nested, _ = name.upper().partition("__")
        if whole.startswith(prefix) and (whole not in known or (nested and whole not in tables)):
            near = get_close_matches(whole, known, n=1, cutoff=0.7)
            wrong.append(f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else ""))
    return wrong


def wrong_values(error: ValidationError, settings: Sequence[str]) -> list[str]:
    """A line for each value that is wrong; the values themselves may be secret, and are in none."""
    found = error.errors(include_input=False, include_url=False)
    return [f"{'.'.join(map(str, each['loc']))}: {_why(each, settings)}" for each in found]


def storage_name(name: str) -> str:
    """A storage's name or address in one form: its blobs' rows carry it, and it is told to people."""
    parts = urlsplit(name)
    # Microsoft's abfss://container@account… names no user.
    if parts.password is not None or (parts.username is not None and not parts.scheme.startswith("abfs")):
        raise ValueError("has a user or a password in it; set them by the backend's own variables")
    return name if name.endswith("://") else name.rstrip("/")


def audio_format(name: str) -> str:
    """A format's public name."""
    try:
        any_format_of(name)
    except UnsupportedFormat as error:
        raise ValueError(str(error)) from error
    return name


def plain_name(name: str) -> str:
    """What a replica may be called."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise ValueError("must be 1 to 64 of A-Z, a-z, 0-9, dot, dash and underscore")
    return name


def rate_limit(limits: str) -> str:
    """Limits such as `100/minute; 2000/day`."""
    for limit in limits.split(";"):
        if not limit.strip():
            raise ValueError("has an empty part; write such as 100/minute or 100/minute; 2000/day")
        if not _LIMIT.fullmatch(limit.strip()):
            raise ValueError(f"{limit.strip()!r} is not such as 100/minute or 2000/day")
    return limits


def redis_address(url: str) -> str:
    """An address of Redis'. What is wrong with it is told without it: it may hold a password."""
    if not _is_redis(url):
        raise ValueError("must be such as redis://user:password@host:6379/0, rediss://… or unix:///path")
    return url


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        there = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in ("redis", "rediss") and there and bool(re.fullmatch(r"(/\d*)?", parts.path))


def decoded(value: Any) -> Any:
    """A list or a table that the environment could only give as JSON."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _why(wrong: Mapping[str, Any], names: Sequence[str]) -> str:
    if wrong["type"] == "extra_forbidden":
        near = get_close_matches(str(wrong["loc"][-1]), names, n=1)
        return "there is no such setting" + (f"; did you mean '{near[0]}'?" if near else "")
    return str(wrong["msg"]).removeprefix("Value error, ").rstrip(".")

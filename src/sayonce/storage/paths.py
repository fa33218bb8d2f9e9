"""Where in a storage a blob goes: a template over fields, whose every value is made safe, and no two alike."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping

from sayonce.errors import InvalidSettings

#: The default: sharded by the content hash, ending in the digest, so that bytes made anew have a new path.
DEFAULT = "audio/{hash2}/{hash}-{digest}.{ext}"

#: What a template may name.
FIELDS = frozenset(
    (
        *("tenant", "scope", "user", "session", "thread", "message", "collection"),
        *("provider", "model", "voice", "language", "codec", "ext"),
        *("hash", "hash2", "recipe", "digest", "yyyy", "mm", "dd"),
    )
)
# At least one of these tells any two assets apart.
_UNIQUE = frozenset({"hash", "digest", "message"})

_SAFE = re.compile(r"[a-z0-9._-]+")
_PATH = re.compile(r"[A-Za-z0-9._=-]+(?:/[A-Za-z0-9._=-]+)*")
_LONGEST_VALUE = 80
_LONGEST_PATH = 900
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


class PathTemplate:
    """A path with `{fields}`. InvalidSettings where it names an unknown one, is no relative path, or cannot tell
    two assets apart."""

    def __init__(self, template: str = DEFAULT) -> None:
        self._template = template
        self._parts = _parsed(template)
        self._names = {name for _, name in self._parts if name is not None}
        self._refuse_nonsense()

    @property
    def names_assets(self) -> bool:
        """Whether no two assets share a path."""
        return "hash" in self._names

    @property
    def names_bytes(self) -> bool:
        """Whether new bytes get a new path."""
        return "digest" in self._names

    def render(self, fields: Mapping[str, str]) -> str:
        """The path of these fields. InvalidSettings where the template names one that is absent."""
        path = "".join(literal + ("" if name is None else self._value(fields, name)) for literal, name in self._parts)
        return validated(path)

    def _value(self, fields: Mapping[str, str], name: str) -> str:
        if name == "hash2":
            return fields["hash"][:2]
        if not fields.get(name):
            raise InvalidSettings(
                f"The path template {self._template!r} needs '{name}', which this audio does not have.",
                remedy="Take it out of the template, or send it with every request.",
            )
        return safe(fields[name])

    def _refuse_nonsense(self) -> None:
        unknown = self._names - FIELDS
        if unknown:
            raise self._wrong(f"names {', '.join(sorted(unknown))}", f"It may name {', '.join(sorted(FIELDS))}.")
        if not self._names & _UNIQUE:
            raise self._wrong("gives many assets one path", "Add {hash} or {digest} to it.")
        try:
            validated("".join(literal + ("" if name is None else "x") for literal, name in self._parts))
        except ValueError as error:
            raise self._wrong(f"is no path: {error}", "Use letters, digits, '.', '_', '-' and '/'.") from error

    def _wrong(self, what: str, remedy: str) -> InvalidSettings:
        return InvalidSettings(f"The path template {self._template!r} {what}.", remedy=remedy)


def safe(value: str) -> str:
    """A value as a segment, or a part of one, of a path: lower-case letters, digits, `.`, `_`, `-` and `=`, which
    every storage takes. Different values give different segments, also where case is not told apart."""
    escaped = value if _SAFE.fullmatch(value) else "".join(map(_escaped, value))
    if escaped.strip(".") == "" or escaped.partition(".")[0] in _RESERVED or escaped[-1] == ".":
        escaped = "=" + escaped
    if len(escaped) > _LONGEST_VALUE:
        # `==` begins no escape, so a shortened value is like no other's.
        escaped = escaped[:16] + "==" + hashlib.sha256(value.encode()).hexdigest()
    return escaped


def validated(path: str) -> str:
    """The path, if a backend may use it; ValueError where it might lead elsewhere or be refused somewhere."""
    if not _PATH.fullmatch(path):
        raise ValueError("it holds something else than letters, digits, '.', '_', '=', '-' and '/'")
    if len(path) > _LONGEST_PATH:
        raise ValueError("it is too long")
    if any(segment.strip(".") == "" or len(segment) > 240 for segment in path.split("/")):
        raise ValueError("a segment of it is empty, only dots, or too long")
    return path


def _escaped(char: str) -> str:
    if _SAFE.fullmatch(char):
        return char
    return "".join(f"={byte:02x}" for byte in char.encode())


def _parsed(template: str) -> list[tuple[str, str | None]]:
    try:
        return [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise InvalidSettings(
            f"The path template {template!r} cannot be read: {error}.", remedy="Write fields as {name}."
        ) from error

"""The items of a YAML file, one at a time, and never more of it in memory than one.

Values are text, numbers, true, false and null as YAML 1.2 has them, so that `no` is Norwegian and `12:30` a text.
There are no anchors, aliases, tags and merges: a few lines of those make a file of gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

#: The key of a mapping under which the items are.
ITEMS = "items"

_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+)?(?:(?<=[0-9])[eE][-+]?[0-9]+)?")


class NotYaml(Exception):
    """What is wrong, and where, as far as it is known; the text itself is never told."""

    def __init__(self, why: str, *, line: int | None = None, place: str = "", remedy: str = "") -> None:
        super().__init__(why)
        self.line = line
        self.place = place
        self.remedy = remedy


class Items:
    """The items of `lines`, gone through once; `head` is what stands beside them, known at the end."""

    def __init__(self, lines: Iterator[str], longest: int, deepest: int) -> None:
        self._source = _Source(lines, longest)
        self._deepest = deepest
        self.head: dict[str, object] = {}

    def __iter__(self) -> Iterator[object]:
        try:
            self._loader: Any = yaml.CSafeLoader(self._source)  # type: ignore[arg-type]
            yield from self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise NotYaml("is no YAML", line=None if mark is None else mark.line + 1) from error
        except yaml.YAMLError as error:
            raise NotYaml("is no YAML") from error

    def _document(self) -> Iterator[object]:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return
        event = self._next()
        if isinstance(event, yaml.SequenceStartEvent):
            yield from self._listed()
        elif isinstance(event, yaml.MappingStartEvent):
            yield from self._mapped()
        else:
            raise NotYaml("is neither a list nor a mapping", place="line 1")
        self._next()
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise NotYaml("is followed by a second document", place="the end")

    def _mapped(self) -> Iterator[object]:
        seen: set[object] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._value(event, 1)
            if not isinstance(key, str):
                raise NotYaml("has a key that is not text", line=event.start_mark.line + 1, place="the head")
            if key in seen:
                raise NotYaml("names a key twice", line=event.start_mark.line + 1, place="the head")
            seen.add(key)
            event = self._next()
            if key != ITEMS:
                self.head[key] = self._value(event, 1)
            elif isinstance(event, yaml.SequenceStartEvent):
                yield from self._listed()
            else:
                raise NotYaml("`items` is no list", line=event.start_mark.line + 1, place="the head")
            self._source.rest()

    def _listed(self) -> Iterator[object]:
        self._source.rest()
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            yield self._value(event, 1)
            self._source.rest()

    def _next(self) -> Any:
        event = self._loader.get_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            line = event.start_mark.line + 1
            raise NotYaml("has an anchor or an alias", line=line, remedy="Write it out, or put the text in quotes.")
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":  # `!` is what the parser says of what is in quotes
            line = event.start_mark.line + 1
            raise NotYaml("has a tag", line=line, remedy="Leave it out, or put the text in quotes.")
        return event

    def _value(self, event: Any, depth: int) -> object:
        if depth > self._deepest:
            raise NotYaml("is nested too deep", line=event.start_mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return self._mapping(depth)

    def _list(self, depth: int) -> list[object]:
        found = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, depth: int) -> Mapping[object, object]:
        found: dict[object, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise NotYaml("has a key that is not text", line=line)
            key = _scalar(event)
            if key in found:
                raise NotYaml("names a field twice", line=line)
            found[key] = self._value(self._next(), depth + 1)
        return found


class _Source:
    """What the parser reads, a line at a time; no item may take too many."""

    def __init__(self, lines: Iterator[str], longest: int) -> None:
        self._lines = lines
        self._longest = longest
        self._taken = 0

    def rest(self) -> None:
        """An item is whole."""
        self._taken = 0

    def read(self, _: int) -> str:
        text = next(self._lines, "")
        self._taken += len(text)
        if self._taken > self._longest:
            raise NotYaml(f"is longer than {self._longest:,} bytes")
        return text


def _scalar(event: Any) -> object:
    told: str = event.value
    if not event.implicit[0]:
        return told
    if told in ("", "~", "null", "Null", "NULL"):
        return None
    if told in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return told.lower() == "true"
    try:
        if _WHOLE.fullmatch(told):
            return int(told)
        return float(told) if told[-1].isdigit() and _NUMBER.fullmatch(told) else told
    except ValueError as error:  # of more digits than anybody reads
        raise NotYaml("has a number that is none", line=event.start_mark.line + 1) from error

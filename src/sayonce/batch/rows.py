"""The rows of a manifest file, one at a time: YAML, CSV with a header line, or JSON Lines.

What they mean is for whoever reads them. Nothing here believes the file: what is too long, too deep or too clever is
refused with its place in it, and no message quotes it.
"""

from __future__ import annotations

import csv
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from sayonce.batch.yaml_items import Items, NotYaml
from sayonce.errors import InvalidRequest

#: What a row may be long, in bytes, and how deep what is in it.
LONGEST, DEEPEST = 8_388_608, 16
# What begins some files and is no part of them.
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row by its number from 1 on; `place` tells people where it is: "line 7", "item 3". `fields` that are not
    there are not told: CSV's empty ones among them."""

    number: int
    place: str
    fields: Mapping[str, object]


class Rows(ABC):
    """The rows of one file, which is read anew each time they are gone through. `head` is what the file tells of all
    of them: YAML's keys beside `items`. InvalidRequest, naming the file and the row, where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def open(self) -> None:
        """Reads what must be known before the first row."""

    @abstractmethod
    def __iter__(self) -> Iterator[Row]:
        """From the first one on."""

    def wrong(self, place: str, why: str, *, param: str | None = None, remedy: str = "") -> InvalidRequest:
        """What to raise of a row, or, with an empty `place`, of the file."""
        return InvalidRequest(f"{self.path}{place and f', {place}'}: {why}.", param=param, remedy=remedy)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The lines with their numbers from 1 on, each with its end."""
        with self._file() as file:
            number = 0
            while line := self._line(file):
                number += 1
                yield number, self._text(line.removeprefix(_BOM) if number == 1 else line, f"line {number}")

    def _file(self) -> BinaryIO:
        if os.path.isdir(self.path):
            raise self.wrong("", "is a folder", remedy="Name the manifest file in it.")
        if not os.path.isfile(self.path):
            there = os.path.exists(self.path)
            raise self.wrong("", "is no plain file" if there else "there is no such file")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def _line(self, file: BinaryIO) -> bytes:
        try:
            return file.readline(LONGEST + 1)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> InvalidRequest:
        return self.wrong("", f"cannot be read: {error.strerror}", remedy="See to its rights and its disk.")

    def _text(self, line: bytes, place: str) -> str:
        if len(line) > LONGEST:
            raise self.wrong(place, f"is longer than {LONGEST:,} bytes")
        if b"\0" in line:
            raise self.wrong(place, "has a NUL byte in it", remedy="Save the file as plain text in UTF-8.")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise self.wrong(place, "is not UTF-8", remedy="Save the file in UTF-8.") from error

    def _checked(self, fields: object, place: str) -> Mapping[str, object]:
        """The fields, if they are some, named by text and not too deep."""
        if not isinstance(fields, dict):
            raise self.wrong(place, "is no set of named fields")
        if not all(isinstance(name, str) for name in fields):
            raise self.wrong(place, "has a field whose name is not text", remedy="Put it in quotes.")
        why = _trouble(fields)
        if why is not None:
            raise self.wrong(place, why)
        return fields


def opened(path: Path) -> Rows:
    """The rows of a manifest file, whose kind its extension tells. InvalidRequest where it is none."""
    kinds: dict[str, Callable[[Path], Rows]] = {
        ".yaml": _Yaml,
        ".yml": _Yaml,
        ".csv": _Csv,
        ".jsonl": _JsonLines,
        ".ndjson": _JsonLines,
    }
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InvalidRequest(
            f"{path} is no manifest: its name ends in none of {', '.join(kinds)}.",
            remedy="Name a YAML, CSV or JSON Lines file.",
        )
    rows = kind(path)
    rows.open()
    return rows


class _JsonLines(Rows):
    def open(self) -> None:
        if next(iter(self), None) is None:
            raise self.wrong("", "has no rows")

    def __iter__(self) -> Iterator[Row]:
        number = 0
        for line, text in self._lines():
            if text.strip():
                number += 1
                place = f"line {line}"
                yield Row(number, place, self._checked(self._parsed(text, place), place))

    def _parsed(self, text: str, place: str) -> object:
        try:
            return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        except _Twice as error:
            raise self.wrong(place, "names a field twice") from error
        except RecursionError as error:
            raise self.wrong(place, "is nested too deep") from error
        except ValueError as error:
            at = f", at its character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise self.wrong(place, f"is no JSON{at}", remedy="Write one object a line.") from error


class _Csv(Rows):
    def open(self) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
        self._columns = self._header()

    def __iter__(self) -> Iterator[Row]:
        for number, (line, cells) in enumerate(self._cells()):
            if number > 0:
                place = f"line {line}"
                if len(cells) != len(self._columns):
                    told = f"has {len(cells)} fields where the header names {len(self._columns)}"
                    raise self.wrong(place, told, remedy="Put a field that has commas or quotes in it in quotes.")
                there = {name: cell for name, cell in zip(self._columns, cells, strict=True) if cell}
                yield Row(number, place, there)

    def _header(self) -> list[str]:
        _, cells = next(self._cells(), (1, []))
        columns = [cell.strip() for cell in cells]
        if not columns:
            raise self.wrong("", "has no rows")
        if not all(columns):
            raise self.wrong("line 1", "names a column with nothing")
        if len(set(columns)) < len(columns):
            raise self.wrong("line 1", "names a column twice")
        return columns

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        """Each row that is not empty, with the line that it begins in."""
        lines = _Counted(self)
        reader = csv.reader(lines, strict=True)
        while True:
            lines.begin()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise self.wrong(f"line {lines.began}", "is no CSV", remedy="See to its quotes.") from error
            if cells is None:
                return
            if cells:
                yield lines.began, cells


class _Counted:
    """A file's lines, of which no row of CSV may take too many."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lines = rows._lines()
        self._read, self._taken = 0, 0
        self.began = 1

    def begin(self) -> None:
        self.began, self._taken = self._read + 1, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._read, text = next(self._lines)
        self._taken += len(text)
        if self._taken > LONGEST:
            raise self._rows.wrong(f"line {self.began}", f"is longer than {LONGEST:,} bytes")
        return text


class _Yaml(Rows):
    def open(self) -> None:
        items = _Told(self)
        for _ in items:
            pass
        self.head = self._checked(items.head, "the head")
        if not items.number:
            raise self.wrong("", "has no rows", remedy="List them under `items:`.")

    def __iter__(self) -> Iterator[Row]:
        for number, fields in enumerate(_Told(self), start=1):
            place = f"item {number}"
            yield Row(number, place, self._checked(fields, place))


class _Told:
    """A YAML file's items; what is wrong with it is wrong with a row."""

    def __init__(self, rows: _Yaml) -> None:
        self._rows = rows
        self.head: Mapping[str, object] = {}
        self.number = 0

    def __iter__(self) -> Iterator[object]:
        rows = self._rows
        items = Items((text for _, text in rows._lines()), LONGEST, DEEPEST)
        try:
            for item in items:
                self.number += 1
                yield item
        except NotYaml as error:
            line = "" if error.line is None else f" (line {error.line})"
            place = error.place or f"item {self.number + 1}"
            raise rows.wrong(place + line, str(error), remedy=error.remedy) from error
        self.head = items.head


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(fields := dict(pairs)) < len(pairs):
        raise _Twice
    return fields


def _no_number(_: str) -> object:
    raise ValueError("neither JSON nor a number")


def _trouble(value: object, depth: int = 1) -> str | None:
    """Why what is in a row cannot be used; None where it can."""
    if depth > DEEPEST:
        return "is nested too deep"
    if isinstance(value, str):
        return _no_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "has a number that is none"
    inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((why for each in inside if (why := _trouble(each, depth + 1))), None)


def _no_text(value: str) -> str | None:
    if "\0" in value:
        return "has a NUL in it"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "has half of a character in it"
    return None

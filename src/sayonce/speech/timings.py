"""When what is said: from characters to words and back.

A vendor that aligns characters gives marks of kind `character`, an engine that tells words marks of kind `word`; each
is kept as it came, and made into the other when somebody asks for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sayonce.speech.chunks import Mark

CHARACTER = "character"
WORD = "word"
#: What marks a sentence's beginning and end.
SENTENCE = "sentence"
#: Marks that nobody measured, but the text's length and the audio's.
ESTIMATED = "estimated"

_WORD = re.compile(r"\S+")


class Alignment:
    """Finds an aligner's characters in the text, as they come, and tells words as soon as they are whole."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._word: list[Mark] = []

    def feed(self, characters: Sequence[str], starts: Sequence[float], ends: Sequence[float]) -> Iterator[Mark]:
        """The marks of the next characters, and of the words that end with them. One that is not in the text, such
        as a number's word, is passed over."""
        for character, start, end in zip(characters, starts, ends, strict=True):
            found = self._text.find(character, self._at, self._at + _FAR)
            if not character or found < 0:
                continue
            self._at = found + len(character)
            mark = Mark(start, max(end, start), found, len(character), CHARACTER)
            yield mark
            if character.isspace():
                yield from self._ended()
            else:
                self._word.append(mark)

    def finish(self) -> Iterator[Mark]:
        """The last word."""
        yield from self._ended()

    def _ended(self) -> Iterator[Mark]:
        if self._word:
            first, last = self._word[0], self._word[-1]
            yield Mark(first.start, last.end, first.first, last.first + last.length - first.first, WORD)
            self._word.clear()


# How many characters an alignment may leave out in a row.
_FAR = 64


def words(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """The marks of words, in their order."""
    return tuple(mark for mark in marks if mark.kind in (WORD, ESTIMATED))


def characters(marks: Sequence[Mark], text: str, duration: float) -> list[tuple[str, float, float]]:
    """Each character of the text with its start and end in seconds: as measured, or else spread evenly over its word;
    what lies between words lasts from the one to the next. Empty where there are no marks."""
    known = [mark for mark in marks if mark.kind == CHARACTER] or list(words(marks))
    if not known:
        return []
    timed: list[tuple[str, float, float]] = []
    at, now = 0, 0.0
    for mark in sorted(known, key=lambda mark: mark.first):
        if mark.first < at:
            continue
        timed += _spread(text[at : mark.first], now, max(mark.start, now))
        now, at = max(mark.end, now), mark.first + mark.length
        timed += _spread(text[mark.first : at], min(mark.start, now), now)
    return timed + _spread(text[at:], now, max(duration, now))


def _spread(text: str, start: float, end: float) -> list[tuple[str, float, float]]:
    step = (end - start) / max(len(text), 1)
    return [(char, start + n * step, start + (n + 1) * step) for n, char in enumerate(text)]


def estimated(text: str, duration: float) -> tuple[Mark, ...]:
    """Words as if each character took the same time, marked as estimated."""
    step = duration / max(len(text), 1)
    found = (Mark(0.0, 0.0, word.start(), len(word[0]), ESTIMATED) for word in _WORD.finditer(text))
    return tuple(replace(mark, start=mark.first * step, end=(mark.first + mark.length) * step) for mark in found)

"""When what is said: from characters to words and back.

A vendor that aligns characters gives marks of kind `character`, an engine that tells words marks of kind `word`; each
is kept as it came, and made into the other when somebody asks for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
        following = [*characters[1:], ""]
        for character, start, end, after in zip(characters, starts, ends, following, strict=True):
            found = self._place(character, after)
            if found < 0:
                continue
            self._at = found + len(character)
            mark = Mark(start, max(end, start), found, len(character), CHARACTER)
            yield mark
            if character.isspace():
                yield from self._ended()
            else:
                self._word.append(mark)

    def _place(self, character: str, after: str) -> int:
        """Where the next character is in the text; -1 where the aligner added it: then the one after it fits here."""
        if not character or self._text.startswith(character, self._at):
            return self._at if character else -1
        added = bool(after) and self._text.startswith(after, self._at)
        return -1 if added else self._text.find(character, self._at, self._at + _FAR)

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


@dataclass(frozen=True, slots=True)
class Timed:
    """A character, and when it is said, in seconds from the audio's beginning."""

    character: str
    start: float
    end: float


class Characters:
    """Tells of each character of a text when it is said, as the marks come: as measured, or else spread evenly over
    its word; what lies between words lasts from the one to the next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._now = 0.0
        self._kind: str | None = None

    def feed(self, marks: Iterable[Mark]) -> list[Timed]:
        """The characters up to the last of the marks."""
        timed: list[Timed] = []
        for mark in marks:
            if mark.kind == SENTENCE or mark.first < self._at or mark.kind != (self._kind or mark.kind):
                continue
            self._kind = mark.kind  # an aligner tells characters first, and then the words that they make
            timed += self._up_to(mark.first, mark.start)
            timed += self._up_to(mark.first + mark.length, mark.end)
        return timed

    def finish(self, duration: float) -> list[Timed]:
        """The rest of the text, up to the audio's end. Empty where there was no mark at all."""
        return [] if self._kind is None else self._up_to(len(self._text), duration)

    def _up_to(self, at: int, end: float) -> list[Timed]:
        start, text = self._now, self._text[self._at : at]
        self._at, self._now = at, max(end, start)
        step = (self._now - start) / max(len(text), 1)
        return [Timed(char, start + n * step, start + (n + 1) * step) for n, char in enumerate(text)]


class Told:
    """As `Characters`, of a text both as it was sent and as it is said: normalising has altered it."""

    def __init__(self, sent: str, said: str) -> None:
        self._sent = Characters(sent)
        self._said = Characters(said)
        self._places = None if sent == said else _places(said, sent)

    def feed(self, marks: Sequence[Mark]) -> tuple[list[Timed], list[Timed]]:
        """The characters up to the last of the marks: as sent, and as said."""
        said = self._said.feed(marks)
        return (said if self._places is None else self._sent.feed(map(self._moved, marks))), said

    def finish(self, duration: float) -> tuple[list[Timed], list[Timed]]:
        """The rest, up to the audio's end. Empty where there was no mark at all."""
        said = self._said.finish(duration)
        return (said if self._places is None else self._sent.finish(duration)), said

    def _moved(self, mark: Mark) -> Mark:
        assert self._places is not None
        first, end = self._places[mark.first], self._places[mark.first + mark.length]
        return replace(mark, first=first, length=end - first)


def _places(text: str, other: str) -> list[int]:
    """For each place in a text, and its end, the same place in another spelling of it: word by word, and evenly
    within those that differ in length. Where they have not as many words, evenly over all."""
    words_, others = ([(word.start(), word.end()) for word in _WORD.finditer(each)] for each in (text, other))
    if len(words_) != len(others):
        words_, others = [(0, len(text))], [(0, len(other))]
    places: list[int] = []
    end = 0
    for (first, after), (at, end) in zip(words_, others, strict=True):
        places += [at] * (first - len(places))
        places += [at + n * (end - at) // (after - first) for n in range(after - first)]
    return places + [end] * (len(text) + 1 - len(places))


def estimated(text: str, duration: float) -> tuple[Mark, ...]:
    """Words as if each character took the same time, marked as estimated."""
    step = duration / max(len(text), 1)
    found = (Mark(0.0, 0.0, word.start(), len(word[0]), ESTIMATED) for word in _WORD.finditer(text))
    return tuple(replace(mark, start=mark.first * step, end=(mark.first + mark.length) * step) for mark in found)

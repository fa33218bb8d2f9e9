"""What espeak-ng tells of when it says what, made into marks; and whether it has said all of a text."""

from __future__ import annotations

from collections.abc import Iterable

from sayonce.speech.chunks import Mark

# Two words often have one event ("to be"), and the longest that a whole corpus goes without one is 20 characters.
_LONGEST_UNTOLD = 60


class Marks:
    """Reads events (kind, milliseconds, place, length) of one text and gives the marks whose ends are known.

    A word ends where the next one begins, or its clause ends; a sentence where its last clause does. A number has an
    event for each of its parts; it is one word, the first.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._word: tuple[int, int, int] | None = None
        self._sentence: tuple[int, int] | None = None
        self._said = bytearray(len(text))
        self._ended = 0  # milliseconds, of the last clause
        self.any_word = False

    def read(self, events: Iterable[tuple[str, int, int, int]]) -> tuple[Mark, ...]:
        """The marks that the next events complete."""
        marks: list[Mark] = []
        for kind, at, first, length in events:
            if kind == "word" and first >= 0:
                self._open_word(marks, at, first, length)
            elif kind == "sentence":
                self._close_sentence(marks, first)
                self._sentence = (at, first)
            elif kind == "end":
                self._close_word(marks, at)
                self._ended = at
        return tuple(marks)

    def rest(self) -> tuple[Mark, ...]:
        """The marks that the text's end completes."""
        marks: list[Mark] = []
        self._close_word(marks, self._ended)
        self._close_sentence(marks, len(self._text))
        return tuple(marks)

    @property
    def left_out(self) -> bool:
        """Whether so much of the text went by without a word of it that espeak cannot have said it all."""
        untold = "".join("\0" if said else char for said, char in zip(self._said, self._text, strict=True))
        return any(len(gap) > _LONGEST_UNTOLD and any(map(str.isalnum, gap)) for gap in untold.split("\0"))

    def _open_word(self, marks: list[Mark], at: int, first: int, length: int) -> None:
        self.any_word = True
        until = min(first + max(length, 1), len(self._text))
        self._said[first:until] = b"\1" * (until - first)
        if self._word is None or first >= self._word[1] + self._word[2]:
            self._close_word(marks, at)
            self._word = (at, first, until - first)

    def _close_word(self, marks: list[Mark], at: int) -> None:
        if self._word is not None:
            start, first, length = self._word
            marks.append(Mark(start / 1000, max(at, start) / 1000, first, length))
            self._word = None

    def _close_sentence(self, marks: list[Mark], until: int) -> None:
        if self._sentence is not None:
            start, first = self._sentence
            length = len(self._text[first:until].rstrip())
            if length and self._ended > start:
                marks.append(Mark(start / 1000, self._ended / 1000, first, length, "sentence"))
            self._sentence = None

"""What comes while speech is being made: bytes, and the marks that tell when which word is said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """When something is said. `start` and `end` in seconds from the audio's beginning; `first` and `length` are its
    place in the normalised text, in characters. `kind` is `word`, `sentence`, `character` or `estimated`."""

    start: float
    end: float
    first: int
    length: int
    kind: str = "word"


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next bytes of a stream, with the marks that became known with them. Either may be empty."""

    data: bytes
    marks: tuple[Mark, ...] = ()

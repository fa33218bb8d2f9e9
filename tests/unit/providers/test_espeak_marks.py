"""What espeak-ng told of a text (captured from 1.52), made into marks."""

from __future__ import annotations

from sayonce.providers.espeak_marks import Marks


def told(text: str, *events: tuple[str, int, int, int]) -> list[tuple[str, float, float, str]]:
    marks = Marks(text)
    every = [mark for event in events for mark in marks.read([event])] + [*marks.rest()]
    return [(text[each.first : each.first + each.length], each.start, each.end, each.kind) for each in every]


def test_a_sentence_has_all_its_clauses() -> None:
    assert told(
        "Hello, my friend. Yes!",
        *(("sentence", 0, 0, 0), ("word", 0, 0, 5), ("end", 165, 6, 0)),
        *(("word", 165, 7, 2), ("word", 273, 10, 6), ("end", 523, 17, 0)),
        *(("sentence", 523, 18, 0), ("word", 523, 18, 3), ("end", 700, 21, 0)),
    ) == [
        ("Hello", 0.0, 0.165, "word"),
        ("my", 0.165, 0.273, "word"),
        ("friend", 0.273, 0.523, "word"),
        ("Hello, my friend.", 0.0, 0.523, "sentence"),
        ("Yes", 0.523, 0.7, "word"),
        ("Yes!", 0.523, 0.7, "sentence"),
    ]


def test_a_number_is_one_word() -> None:
    assert told(
        "In 1234567 days",
        *(("sentence", 0, 0, 0), ("word", 0, 0, 2), ("word", 100, 3, 7), ("word", 200, 4, 7), ("word", 300, 3, 7)),
        *(("word", 900, 11, 4), ("end", 1000, 15, 0)),
    ) == [
        ("In", 0.0, 0.1, "word"),
        ("1234567", 0.1, 0.9, "word"),
        ("days", 0.9, 1.0, "word"),
        ("In 1234567 days", 0.0, 1.0, "sentence"),
    ]


def test_silence_has_no_marks() -> None:
    assert told("… ?", ("sentence", 0, 0, 0), ("end", 0, 3, 0)) == []


def test_what_was_left_out_is_seen() -> None:
    marks = Marks("One " + "two three " * 7)
    marks.read([("word", 0, 0, 3)])
    assert marks.left_out
    marks.read([("word", 100, place, 9) for place in range(4, 74, 10)])
    assert not marks.left_out
    ruled = Marks("One " + "-" * 100 + " two")
    ruled.read([("word", 0, 0, 3), ("word", 0, 105, 3)])
    assert not ruled.left_out  # a line of signs is no words

"""From characters to words and back, as they come."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayonce.speech.chunks import Mark
from sayonce.speech.timings import CHARACTER, ESTIMATED, WORD, Alignment, Characters, Told, estimated, words

TEXT = "Say it once, then."


def aligned(text: str, told: str, step: float = 0.1) -> list[Mark]:
    alignment = Alignment(text)
    starts = [n * step for n in range(len(told))]
    marks = list(alignment.feed(list(told), starts, [start + step for start in starts]))
    return [*marks, *alignment.finish()]


def test_an_alignment_tells_characters_and_words() -> None:
    marks = aligned(TEXT, TEXT)
    assert "".join(TEXT[mark.first] for mark in marks if mark.kind == CHARACTER) == TEXT
    told = words(marks)
    assert [TEXT[mark.first : mark.first + mark.length] for mark in told] == TEXT.split()
    assert (told[1].start, told[1].end) == (pytest.approx(0.4), pytest.approx(0.6))


@pytest.mark.parametrize("told", ["Say it  once, then.", "Say it xonce, then.", "Say it once then."])
def test_what_an_aligner_adds_or_leaves_out_shifts_nothing(told: str) -> None:
    found = [TEXT[mark.first : mark.first + mark.length] for mark in words(aligned(TEXT, told))]
    assert [word.strip(",") for word in found] == ["Say", "it", "once", "then."]


def test_uneven_lists_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        list(Alignment("ab").feed(["a", "b"], [0.0], [0.1, 0.2]))


def times(marks: list[Mark], text: str, duration: float, cut: int) -> list[tuple[str, float, float]]:
    characters = Characters(text)
    timed = [*characters.feed(marks[:cut]), *characters.feed(marks[cut:]), *characters.finish(duration)]
    return [(each.character, each.start, each.end) for each in timed]


def test_words_are_spread_over_their_characters() -> None:
    marks = [Mark(0.5, 1.0, 0, 2), Mark(1.5, 2.0, 3, 2), Mark(0.0, 2.0, 0, 5, "sentence")]
    timed = times(marks, "ab cd.", 3.0, 1)
    assert timed == [
        ("a", 0.5, 0.75),
        ("b", 0.75, 1.0),
        (" ", 1.0, 1.5),
        ("c", 1.5, 1.75),
        ("d", 1.75, 2.0),
        (".", 2.0, 3.0),
    ]
    assert timed == times(marks, "ab cd.", 3.0, 3), "however they come"


def test_characters_that_were_measured_stay_as_they_were() -> None:
    timed = times(aligned(TEXT, TEXT), TEXT, 1.8, 5)
    assert [character for character, _, _ in timed] == list(TEXT)
    assert timed[4] == ("i", pytest.approx(0.4), pytest.approx(0.5))


def test_without_marks_nobody_knows() -> None:
    assert times([], TEXT, 1.8, 0) == []


def test_estimates_say_that_they_are() -> None:
    marks = estimated(TEXT, 1.8)
    assert {mark.kind for mark in marks} == {ESTIMATED}
    assert marks[-1].end == pytest.approx(1.8)
    assert "".join(each for each, _, _ in times(list(marks), TEXT, 1.8, 2)) == TEXT


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.floats(0, 9), st.floats(0, 9)), max_size=8)


@given(st.text(max_size=30), SPANS)
def test_times_never_run_backwards_and_no_character_is_told_twice(
    text: str, spans: list[tuple[int, int, float, float]]
) -> None:
    marks = [Mark(start, end, first, length, WORD) for first, length, start, end in spans]
    timed = times(marks, text, 10.0, len(marks) // 2)
    assert "".join(each for each, _, _ in timed) in (text, "")
    flat = [moment for _, start, end in timed for moment in (start, end)]
    assert all(one <= other + 1e-9 for one, other in pairwise(flat))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("He said “hi”  there…", 'He said "hi" there...'),
        ("  one\n two ", "one two"),
        ("**bold** words", "bold words"),
        ("a b", "a b c"),
        ("", ""),
        ("same", "same"),
    ],
)
def test_the_text_as_it_was_sent_is_timed_too(sent: str, said: str) -> None:
    spoken = enumerate(re.finditer(r"\S+", said))
    marks = [Mark(n * 0.5, n * 0.5 + 0.4, at.start(), len(at[0]), WORD) for n, at in spoken]
    told = Told(sent, said)
    first, rest = told.feed(marks), told.finish(5.0)
    as_sent, as_said = [*first[0], *rest[0]], [*first[1], *rest[1]]
    for timed, text in ((as_sent, sent), (as_said, said)):
        assert "".join(each.character for each in timed) == (text if marks else "")
        assert all(one.end <= other.start + 1e-9 for one, other in pairwise(timed))
        assert all(0 <= each.start <= each.end <= 5.0 for each in timed)
    if sent.startswith("He"):
        starts = {each.character: each.start for each in as_sent}
        assert starts["“"] == pytest.approx(1.0), "where the word is said that it belongs to"

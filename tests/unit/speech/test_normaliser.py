"""The normaliser: one spelling, applied twice as once, and nothing that cannot be spoken."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sayonce.errors import InvalidText
from sayonce.speech.normaliser import normalise

speakable = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" \n\r\t.…'“”–—"), min_size=1)


@given(speakable)
@example("Plain words, one space.")
@example(". . . ... …. ....")
def test_twice_is_once(text: str) -> None:
    try:
        once = normalise(text)
    except InvalidText:
        return
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("Plain.", "Plain."),
        ("  two   spaces ", "two spaces"),
        ("a\tb\nc", "a b c"),
        ("a\r\n\r\n\r\nb", "a\n\nb"),
        ("a\n \n b", "a\n\nb"),
        ("a\u2029b", "a\n\nb"),
        ("a\u00a0\u2003b", "a b"),
        ("“quoted” ‘and’ «so» „too”", '"quoted" \'and\' "so" "too"'),
        ("1990—1995", "1990–1995"),
        ("well‑known", "well-known"),
        ("wait...", "wait…"),
        ("Cafe\u0301", "Café"),
        ("US us", "US us"),
    ],
)
def test_spellings(text: str, spelling: str) -> None:
    assert normalise(text) == spelling


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n\t\u2003", "empty"),
        ("a\x00b", "control character"),
        ("a\x01b", "control character"),
        ("a\x7fb", "control character"),
        ("a\ud800b", "surrogate"),
        ("a" + "\u0301" * 31, "combining"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidText, match=why):
        normalise(text)


def test_the_error_does_not_quote_the_text() -> None:
    with pytest.raises(InvalidText) as refused:
        normalise("secret words\x00")
    assert "secret" not in str(refused.value)


def test_a_million_marks_take_no_time() -> None:
    """Normalising would take hours; noticing takes less than a second, even on a busy machine."""
    began = time.process_time()
    with pytest.raises(InvalidText):
        normalise("e" + "\u0301\u0323" * 500_000)
    assert time.process_time() - began < 5

"""Cleaning by rules: what a chat answer sounds like, and what must not be touched."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayonce.speech.cleaning import clean

TABLE = "| Name | Age | |\n|---|---|---|\n| Bob | 3 | x |\n| Ann | | y |"

CASES = [
    ("# Hello\n\nThis is **bold**, *it*, ~~gone~~ and `code_x`.", "Hello.\n\nThis is bold, it, gone and code_x."),
    ("Setext\n===", "Setext."),
    ("### Is it?\nYes", "Is it?\n\nYes"),
    ("1. one\n2. two!\n   - sub item\n- [ ] task\n- [x] done", "1. one.\n\n2. two!\n\nsub item.\n\ntask.\n\ndone."),
    ("- a\n\n  second paragraph\n- b", "a.\n\nsecond paragraph.\n\nb."),
    ("See [the docs](https://a.b/c) or https://www.example.com/path?x=1.", "See the docs or example.com."),
    ("<https://example.com/a> and www.example.org/b, too", "example.com and example.org, too"),
    ("[https://example.com/a](https://example.com/a)", "example.com"),
    ("Fine [1][2], this【3†source】 and [4, 5] and[^6].\n\n[^6]: A note.", "Fine, this and and."),
    ("It is so [1](https://a.b), they say [citation needed].", "It is so, they say."),
    ("text [1]\n\n[1]: http://x.y", "text"),
    (TABLE, "Name: Bob, Age: 3, x.\n\nName: Ann, y."),
    ("Look:\n\n```python\nprint(1)\n```\n\nDone.", "Look:\n\nDone."),
    ("~~~\nonly code", ""),
    ("It 🎉 works 👩‍👩‍👧 in 🇩🇪 ✅, 1️⃣ :tada: ❤️!", "It works in, 1!"),
    ("<p>Hi <b>there</b></p>\n<script>alert(1)</script>", "Hi there"),
    ("Hi <script>alert(1)</script>you<br>two &amp; three &lt;3", "Hi you two & three <3"),
    ("<!-- not this -->\n\nbut this", "but this"),
    ("<details><summary>More</summary>\n\nInner **x**\n\n</details>", "More\n\nInner x"),
    ("> quote\n> more\n\n---\n\nend", "quote more\n\nend"),
    ("![a cat](x.png) sits", "a cat sits"),
    ("Energy is $E = mc^2$, $$a_1$$ too.", "Energy is E = mc^2, a_1 too."),
    ("A → B ⇒ C", "A B C"),
    ("• one\n• two", "one two"),
    ("    indented prose\n\nnext", "indented prose\n\nnext"),
    ("Line one\nline two", "Line one line two"),
    ("\\*not emphasis\\*", "*not emphasis*"),
    ("", ""),
    ("🎉🎉", ""),
]

PLAIN = [
    "3 * 4 * 5 and snake_case_name, C++ & C#, 5 < 6, a_b_c",
    "the price is $5 and $6, 2 - 1 = 1, I use ~5% of it",
    "#1 fan of @you at 10:30:45, e-mail me@example.com",
    'He said: "No (not yet)!" Then he left… and came back.',
    "Grüße aus Köln! Ça va? こんにちは。你好，世界。",
    "One paragraph.\n\nAnother one.",
    "1986. A great year.",
    "Section [a] of list[0] in {braces} and f(x)",
]


@pytest.mark.parametrize(("text", "said"), CASES)
def test_what_a_chat_answer_sounds_like(text: str, said: str) -> None:
    assert clean(text) == said


@pytest.mark.parametrize("text", PLAIN)
def test_prose_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("text", [said for _, said in CASES] + PLAIN)
def test_what_is_clean_stays_so(text: str) -> None:
    assert clean(clean(text)) == clean(text)


WORDS = st.lists(st.from_regex(r"[a-zA-Zäöü]{1,8}[,.!?]?", fullmatch=True), min_size=1, max_size=12).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_paragraphs_of_words_stay_as_they_are(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    assert clean(text) == text


@given(st.text(alphabet=st.sampled_from("ab *_`#[]()<>!|-\n\\&;:~$1.→🎉{}^\"'"), max_size=200))
def test_nothing_makes_it_fail(text: str) -> None:
    said = clean(text)
    assert clean(text) == said
    assert "🎉" not in said
    assert said == said.strip()


HOSTILE = {
    "brackets": "[" * 50_000,
    "images": "![" * 25_000,
    "links": "[a](" * 12_500,
    "stars": "a**b" * 12_500,
    "quotes": "> " * 5_000 + "x",
    "lists": "".join("  " * depth + "- x\n" for depth in range(250)),
    "tags": "<a " * 15_000,
    "comments": "<!--" * 12_500,
    "scripts": "<script>" * 6_000,
    "entities": "&amp;" * 10_000,
    "backticks": "`a" * 25_000,
    "tables": "|a|b|\n|-|-|\n" + "|x|y|\n" * 7_500,
    "formulas": "$a^" * 15_000,
    "citations": "[1," * 15_000,
    "addresses": "http://" * 7_000,
    "spaces": " " * 50_000 + "x",
    "shortcodes": ":a" * 25_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_end_soon(name: str) -> None:
    """What grows with the square of a text's length would take minutes here."""
    began = time.process_time()
    clean(HOSTILE[name])
    assert time.process_time() - began < 20

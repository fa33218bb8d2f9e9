"""What a log says of an error, and what it must not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from sayonce.errors import CatalogUnavailable
from sayonce.telemetry import logs

def spoken(words):
    secret = "a spoken word"
    try:
        int(words)
    except ValueError as error:
        raise CatalogUnavailable("It cannot be read.", backend="sqlite") from error

logs.configure("info", sys.argv[1])
try:
    spoken("a spoken word")
except CatalogUnavailable as error:
    logs.get_logger("ours").error("bug", exc_info=error)
    logging.getLogger("theirs").exception("bug")
try:
    raise ExceptionGroup("a spoken word", [KeyError("a spoken word"), OSError("a spoken word")])
except ExceptionGroup:
    logs.get_logger("ours").exception("bug")
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_errors_way_is_told_and_no_word_of_what_was_spoken(style: str) -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM, style], capture_output=True, text=True, check=True).stderr
    assert "spoken word" not in told
    assert told.count("in spoken") == 4, "both, each with its cause"
    assert "It cannot be read." in told
    assert all(name in told for name in ("ValueError", "KeyError", "OSError", "CatalogUnavailable", "ExceptionGroup"))
    if style == "json":
        assert [json.loads(line)["event"] for line in told.splitlines()] == ["bug"] * 3

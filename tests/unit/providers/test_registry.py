"""Others' providers are found by their entry points, and loaded when they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sayonce.errors import InvalidSettings
from sayonce.providers import registry

_MODULE = """
from sayonce.providers.openai import OpenAIProvider

class ParrotProvider(OpenAIProvider):
    name = "parrot"
"""


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that adds a provider, installed."""
    about = tmp_path / "parrot-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[sayonce.providers]\nparrot = parrot_of_tests:ParrotProvider\nopenai = parrot_of_tests:ParrotProvider\n"
    )
    (tmp_path / "parrot_of_tests.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "parrot_of_tests", raising=False)


@pytest.mark.usefixtures("parrot")
def test_an_entry_point_adds_a_provider() -> None:
    assert {"espeak", "openai", "parrot", "wispr"} <= set(registry.known())
    assert "parrot_of_tests" not in sys.modules
    made = registry.make("polly", "parrot", {"base_url": "http://localhost:1/v1"})
    assert (made.name, made.upstream.name) == ("parrot", "polly")


@pytest.mark.usefixtures("parrot")
def test_nobody_takes_the_place_of_ours() -> None:
    assert registry.make("mine", "openai", {}).name == "openai"


def test_an_unknown_one_names_those_there_are() -> None:
    with pytest.raises(InvalidSettings, match="espeak, openai"):
        registry.make("mine", "parrot", {})

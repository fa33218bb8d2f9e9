"""`sayonce settings` shows what there is, and says what a gateway would not start with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sayonce.app import running
from sayonce.cli import app
from sayonce.errors import InvalidSettings, MissingExtra
from sayonce.settings import Settings, load

WRONG = {
    '[schedules.nightly]\ncron = "soon"\ndo = "upkeep"': "The schedule 'nightly' is wrong: cron",
    '[schedules.nightly]\ncron = "30 3 * * *"': "The schedule 'nightly' is wrong: say what to 'seed'",
    'chain = "openai"\ndefault_upstream = "espeak"': "The default upstream 'espeak' is not in the chain",
    'chain = "nobody"': "The upstream 'nobody' is not configured",
    '[upstreams.mine]\nprovider = "nobody"': "The upstream 'mine' has the provider 'nobody'",
    '[upstreams.espeak]\nvoice = "nobody"': "The setting 'voice' of the upstream 'espeak' is wrong",
    'storage = "nowhere"': "The storage 'nowhere' is not configured",
    '[storages.mine]\nbackend = "local"': "The storage 'mine' on the local disk needs 'root'",
    'path_template = "{nothing}"': "nothing",
    'turn_path = "{nothing}"': "nothing",
    '[cleaner]\nmodle = "x"': "modle",
}


def shown(*words: str) -> Result:
    return CliRunner().invoke(app, ["settings", *words])


async def started(settings: Settings) -> None:
    """Whether a gateway starts with these."""
    async with running(settings):
        pass


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.parametrize(("toml", "said"), WRONG.items(), ids=str)
async def test_no_gateway_starts_with_these(toml: str, said: str) -> None:
    Path("sayonce.toml").write_text(toml)
    with pytest.raises((InvalidSettings, MissingExtra)) as refused:
        await started(load())
    assert said in str(refused.value)


@pytest.mark.parametrize(("toml", "said"), WRONG.items(), ids=str)
def test_and_they_are_shown_as_wrong(toml: str, said: str) -> None:
    Path("sayonce.toml").write_text(toml)
    answer = shown()
    assert isinstance(answer.exception, InvalidSettings), answer.exception
    assert said in str(answer.exception)
    assert "SAYONCE_PORT" in answer.output, "all of them are shown all the same"


@pytest.mark.parametrize(
    "toml",
    [
        "",
        'chain = "espeak,openai"',
        '[schedules.nightly]\ncron = "30 3 * * *"\ndo = "upkeep"',
        'tier = "database://"',
    ],
    ids=str,
)
def test_what_a_gateway_starts_with_is_only_shown(toml: str, tmp_path: Path) -> None:
    Path("sayonce.toml").write_text(toml)
    answer = shown("--json")
    assert (answer.exit_code, answer.exception) == (0, None)
    assert "schedules" in {row["name"] for row in json.loads(answer.output)}
    assert not (tmp_path / "data").exists(), "nothing is made"

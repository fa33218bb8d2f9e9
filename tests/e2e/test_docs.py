"""What the docs say is so: commands are run as written, pages made from code are current, examples run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from docs.reference import FOLDER, metrics_page

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.e2e.processes import command, environment, serving_process

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    """The README's blocks of that language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def example(name: str) -> str:
    return str(ROOT / "examples" / f"{name}.py")


async def run(*words: str, cwd: Path, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def local(folder: Path, **more: str) -> dict[str, str]:
    """An environment with no vendor."""
    env = environment(folder, "http://127.0.0.1:9", **more)
    return {name: value for name, value in env.items() if not name.startswith("OPENAI_")}


async def test_the_readmes_curl_python_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_process(tmp_path / "data", "", OPENAI_BASE_URL="", OPENAI_API_KEY="") as server:
        curl, message = [block for block in fenced("sh") if block.startswith("curl")]
        written = curl.replace("http://127.0.0.1:8700", server.url)
        outcomes = [await run("bash", "-c", written, cwd=tmp_path, env=dict(os.environ)) for _ in range(2)]
        assert "x-tts-cache: miss" in outcomes[0]
        assert "x-tts-cache: hit" in outcomes[1]
        assert (tmp_path / "hello.mp3").stat().st_size > 3_000
        written = message.replace("http://127.0.0.1:8700", server.url)
        await run("bash", "-c", written, cwd=tmp_path, env=dict(os.environ))
        kept = tmp_path / "data" / "audio" / "tts_audio" / "ann" / "t1" / "m1.mp3"
        assert kept.read_bytes() == (tmp_path / "message.mp3").read_bytes() or kept.stat().st_size > 3_000
        for client in [block for block in fenced("python") if "base_url" in block]:
            script = client.replace("http://127.0.0.1:8700", server.url) + "\nprint(len(b''.join(audio)))"
            if "elevenlabs" not in script:
                script = script.rpartition("\n")[0]
            await run(sys.executable, "-c", script, cwd=tmp_path, env=dict(os.environ))
    [commands] = [block for block in fenced("sh") if ".venv/bin/sayonce say" in block]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    told = []
    for line in commands.splitlines():
        written = line.partition("#")[0].replace(".venv/bin/sayonce", f"{sys.executable} -m sayonce.cli")
        told.append(await run("bash", "-c", written, cwd=tmp_path, env=local(tmp_path / "data2")))
    assert "miss" in told[0]
    assert "hit" in told[1]
    assert "24 made" in told[2]
    assert "espeak/nova" in told[3]
    assert "sayonce_" in told[5]


async def test_the_readmes_embedded_clients(tmp_path: Path) -> None:
    embedded, threaded = [block for block in fenced("python") if "EmbeddedClient" in block]
    told = await run(sys.executable, "-c", embedded, cwd=tmp_path, env=local(tmp_path / "data"))
    assert told.startswith("miss ")
    told = await run(sys.executable, "-c", threaded, cwd=tmp_path, env=local(tmp_path / "data"))
    assert sum(map(int, told.split())) > 3_000


async def test_the_examples(tmp_path: Path) -> None:
    async with serving_process(tmp_path / "data", "", OPENAI_BASE_URL="", OPENAI_API_KEY="") as server:
        told = await run(
            *(sys.executable, example("openai_client"), server.url),
            cwd=tmp_path,
            env=local(tmp_path),
        )
        assert [line.split()[0] for line in told.splitlines()] == ["miss", "hit", "miss"]
        told = await run(sys.executable, example("sync"), server.url, cwd=tmp_path, env=local(tmp_path))
        assert [line.split()[0] for line in told.splitlines()] == ["hit", "hit", "heard", "kept"]
    told = await run(sys.executable, example("sync"), cwd=tmp_path, env=local(tmp_path / "three"))
    assert told.splitlines()[-1] == "kept 2 clips"
    assert told.startswith("miss ")
    told = await run(sys.executable, example("embedded"), cwd=tmp_path, env=local(tmp_path / "two"))
    assert [line.split()[0] for line in told.splitlines()] == ["miss", "hit"]


def test_the_page_of_metrics_is_current() -> None:
    assert (FOLDER / "metrics.md").read_text(encoding="utf-8") == metrics_page(), "run: make docs"


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["say", "--help"], ["keys", "--help"]])
async def test_help_teaches(words: list[str], tmp_path: Path) -> None:
    code, out, _ = await command(*words, env=local(tmp_path))
    assert code == 0
    assert "--help" in out


async def test_the_command_line_tells_in_json(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        told = [json.loads((await command("say", "Hello.", "--json", env=env))[1]) for _ in range(2)]
        assert [each["outcome"] for each in told] == ["miss", "hit"]
        anew = json.loads((await command("say", "Hello.", "--refresh", "--json", env=env))[1])
        assert (anew["outcome"], vendors.counts.calls) == ("miss", 2)
        stats = json.loads((await command("stats", "--json", env=env))[1])
        assert (stats["hits"], stats["misses"], stats["entries"]) == (1, 2, 1)
        voices = json.loads((await command("voices", "espeak", "--json", env=env))[1])
        assert {"espeak/nova", "espeak/de", "espeak/en-us"} <= {voice["voice"] for voice in voices}
        assert "sk-x" not in (await command("settings", "--json", env=env))[1]
        vendors.behave(status=400)
        code, out, err = await command("say", "Refused.", env=env)
        assert (code, out) == (2, "")
        assert "answered 400" in err
        assert "Traceback" not in err
        code, _, err = await command("say", "  ", env=env)
        assert (code, "empty" in err) == (2, True)
        code, _, err = await command("voices", "nobody", env=env)
        assert (code, "espeak, openai" in err) == (2, True)


async def test_tenants_have_limits_of_their_own(tmp_path: Path) -> None:
    vendors = FakeVendors()
    async with serving(vendors) as upstream:
        env = environment(tmp_path, upstream)
        code, _, err = await command("keys", "tenant", "default", "--budget", "0", env=env)
        assert (code, "set tenant default" in err) == (0, True)
        priced = env | {"SAYONCE_UPSTREAMS": '{"openai": {"provider": "openai", "price": 15}}'}
        code, _, err = await command("say", "Too dear.", env=priced)
        assert (code, "budget" in err, vendors.counts.calls) == (2, True, 0)

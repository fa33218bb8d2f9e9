"""The page on seeding: its commands do what it says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import httpx

from sayonce.batch.manifest import Head, Line
from sayonce.batch.schedules import schedules_of
from tests.conftest import until
from tests.e2e.processes import command, environment, serving_process

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "seeding.md").read_text(encoding="utf-8")
NOWHERE = "http://127.0.0.1:9"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def test_the_commands(tmp_path: Path) -> None:
    env = environment(tmp_path, NOWHERE)
    said = []
    for line in blocks("sh")[0].splitlines():
        words = line.replace("examples/", f"{ROOT}/examples/").split()
        assert words[0] == "sayonce"
        code, out, _ = await command(*words[1:], env=env)
        assert code == 0
        said.append(out)
    assert "24 to make" in said[0]
    told = re.search(r"`(\{\"made\".*?\})`", PAGE)
    assert told is not None
    assert json.loads(said[2]) == json.loads(told[1])


async def test_the_doors(tmp_path: Path) -> None:
    body = re.search(r"-d '(\{.*?\})'\n", blocks("sh")[1], re.DOTALL)
    assert body is not None
    async with serving_process(tmp_path, NOWHERE) as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post("/api/seeds", json=json.loads(body[1]))
        assert (answer.status_code, answer.headers["location"]) == (202, "/api/seeds/greetings")

        async def done() -> bool:
            return bool((await http.get("/api/seeds/greetings")).json()["status"] == "done")

        await until(done)
        async with http.stream("GET", "/api/seeds/greetings/events") as events:
            told = "".join([line async for line in events.aiter_lines()])
        assert "event: done" in told


def test_the_schedules() -> None:
    [table] = blocks("toml")
    assert set(schedules_of(tomllib.loads(table)["schedules"])) == {"questions", "tidy"}


def test_the_table_has_every_field() -> None:
    told = set(re.findall(r"`([a-z]+)`", PAGE))
    assert set(Head.model_fields) | set(Line.model_fields) <= told | {"text", "description"}

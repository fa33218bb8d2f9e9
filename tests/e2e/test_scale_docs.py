"""The page on many replicas: its commands start two, and two listeners cost one call."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import free_socket
from tests.conftest import until
from tests.e2e.processes import SAYONCE

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "scale.md").read_text(encoding="utf-8")


def section(title: str) -> list[str]:
    """The commands of a section, block by block."""
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"```sh\n(.*?)```", found, re.DOTALL)


def number(written: str) -> int:
    return int(written.replace(",", ""))


def free_port() -> int:
    with free_socket() as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def typed(commands: str, env: dict[str, str], cwd: Path) -> AsyncIterator[None]:
    """What goes on in a terminal of its own."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"exec env {commands}"), env=env, cwd=cwd, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str) -> bool:
    async with httpx.AsyncClient() as http:
        try:
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False


async def test_two_replicas_by_hand(tmp_path: Path, postgres: str, redis: RedisServer) -> None:
    ports = {port: str(free_port()) for port in ("8701", "8702", "8799")}

    def here(written: str) -> str:
        for port, free in ports.items():
            written = written.replace(port, free)
        written = written.replace("sayonce serve", f"{' '.join(SAYONCE)} serve")
        return written.replace("python -m sayonce.testing", f"{SAYONCE[0]} -m sayonce.testing")

    vendor, exports, one, two, listeners = map(here, section("Two replicas by hand"))
    told = dict(re.findall(r"(\b[A-Z_]+)=(\S+)", exports))
    assert set(told) == {"DATABASE_URL", "REDIS_URL", "SAYONCE_STORAGE", "OPENAI_BASE_URL", "OPENAI_API_KEY"}
    env = dict(os.environ) | told | {"DATABASE_URL": postgres, "REDIS_URL": redis.url()}
    env["SAYONCE_DATA_DIR"] = str(tmp_path / "data")
    async with typed(vendor, env, tmp_path), typed(one, env, tmp_path), typed(two, env, tmp_path):
        await until(lambda: answers(f"http://127.0.0.1:{ports['8799']}/control"))
        for port in ("8701", "8702"):
            await until(lambda port=port: answers(f"http://127.0.0.1:{ports[port]}/api/health/ready"))
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", listeners), env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    lines = out.decode().strip()
    assert sorted(re.findall(r"(?i)x-tts-cache: (\w+)", lines)) == ["joined", "miss"]
    assert "differ" not in lines
    heard = {(tmp_path / f"{ports[port]}.mp3").read_bytes() for port in ("8701", "8702")}
    assert len(heard) == 1
    assert len(heard.pop()) > 3_000
    counted, end = json.JSONDecoder().raw_decode(lines, lines.index("{"))
    stats, _ = json.JSONDecoder().raw_decode(lines, end)
    assert counted["calls"] == 1
    assert stats["success"]


def test_what_the_page_names_is_there() -> None:
    deploy = Path(__file__).parents[2] / "deploy"
    for block in (*section("In containers"), *section("Restarting one after the other")):
        assert block.startswith("cd deploy\n")
    assert (deploy / "compose.yaml").is_file()
    assert (deploy / "env.example").is_file()


def test_its_reckoning_is_that_of_the_results() -> None:
    results = (Path(__file__).parents[2] / "bench" / "RESULTS.md").read_text(encoding="utf-8")
    measured = re.findall(r"^\| s = ([\d.]+), .*?([\d,]+) \|$", results, re.MULTILINE)
    reckoned = {
        s: [round(int(left.replace(",", "")), -3) for each, left in measured if each == s] for s, _ in measured
    }
    rows = re.findall(r"\| ([\d,]+) \| ([\d,]+) \|$", PAGE[PAGE.index("## 10^9 assets") :], re.MULTILINE)
    told = [[number(left) for left in column] for column in zip(*rows, strict=True)]
    assert len(told[0]) == 5
    assert reckoned == {"0.8": told[0], "1.0": told[1]}

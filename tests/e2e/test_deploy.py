"""The commands of deploy/ do what they are there for, run here without a container."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import boto3
import httpx
import pytest
import yaml
from moto.server import ThreadedMotoServer

from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import SAYONCE, environment, serving_process

DEPLOY = Path(__file__).parents[2] / "deploy"


async def run(*words: str, env: dict[str, str], cwd: Path) -> int:
    process = await asyncio.create_subprocess_exec(*words, env=env, cwd=cwd, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def test_the_images_probe_tells_who_lives(tmp_path: Path) -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    [told] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    python, *words = json.loads(told)
    assert python == "python"
    async with serving(FakeVendors()) as upstream, serving_process(tmp_path, upstream) as server:
        env = {"PATH": os.environ["PATH"], "SAYONCE_PORT": server.url.rpartition(":")[2]}
        assert await run(sys.executable, *words, env=env, cwd=tmp_path) == 0
        await server.kill()
        assert await run(sys.executable, *words, env=env, cwd=tmp_path) == 1


async def test_prometheus_gets_a_key_once_and_it_opens_the_metrics(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    told = compose["services"]["metrics-key"]
    [line] = told["command"]
    written = line.replace("sayonce ", f"{' '.join(SAYONCE)} ")
    home = tmp_path / "data"
    home.mkdir()
    async with serving(FakeVendors()) as upstream:
        env = environment(tmp_path / "catalog", upstream)
        keys = []
        for _ in range(2):
            assert await run(*told["entrypoint"], written, env=env, cwd=home) == 0
            keys.append((home / "key").read_text())
        assert keys[0] == keys[1]
        async with (
            serving_process(tmp_path / "catalog", upstream, SAYONCE_REQUIRE_KEYS="true") as server,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            asked = {"authorization": f"Bearer {keys[0].strip()}"}
            assert (await http.get("/metrics")).status_code == 401
            assert "sayonce_answers_total" in (await http.get("/metrics", headers=asked)).text


async def test_the_bucket_is_waited_for_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = await until(moto.get_host_and_port)
    moto.stop()
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
    }
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, env[name])
    waiting = asyncio.create_task(
        run(sys.executable, str(DEPLOY / "make_bucket.py"), "speech", env=env, cwd=tmp_path)
    )
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    moto.start()
    try:
        assert await waiting == 0
        assert await run(sys.executable, str(DEPLOY / "make_bucket.py"), "speech", env=env, cwd=tmp_path) == 0
        s3 = boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], region_name="us-east-1")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["speech"]
    finally:
        moto.stop()

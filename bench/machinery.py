"""Starts what is measured, and the load; each server on core 0, the load on core 1."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

SERVERS, LOAD = "0", "1"
_NUMBERED = """
local n = 0
request = function()
  n = n + 1
  wrk.headers["X-Request-Id"] = n
  return wrk.format()
end
"""


@dataclass(frozen=True)
class Round:
    """What one round of load gave: answers a second, and latencies in milliseconds."""

    rate: float
    median: float
    p99: float


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], url: str, core: str = SERVERS, **environment: str) -> Iterator[str]:
    """A process on one core, once `url` answers."""
    pinned = ["taskset", "-c", core, *command] if shutil.which("taskset") else command
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with tempfile.TemporaryDirectory() as folder:  # some peers leave files where they run
        running = subprocess.Popen(
            pinned,
            env=os.environ | paths | environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(url, running)
            yield url
        finally:
            running.terminate()
            running.wait(20)


@contextmanager
def vendor(core: str = LOAD, **how: float) -> Iterator[str]:
    """A fake vendor of its own process."""
    told = [(f"--{name.replace('_', '-')}", value) for name, value in how.items()]
    options = [part for name, value in told for part in ((name,) if value is True else (name, str(value)))]
    command = ["taskset", "-c", core, sys.executable, "-m", "sayonce.testing.vendors", *options]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def gateway(folder: Path, upstream: str, **environment: str) -> Iterator[str]:
    """`sayonce serve` before `upstream`, with its data in `folder`."""
    port = free_port()
    settings = {
        "SAYONCE_PORT": str(port),
        "SAYONCE_DATA_DIR": str(folder),
        "SAYONCE_LOG_LEVEL": "error",
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-bench",
    }
    command = [sys.executable, "-m", "sayonce.cli", "serve"]
    with process(command, f"http://127.0.0.1:{port}", **(settings | environment)) as url:
        yield url


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """nginx with `proxy_cache` on POST, one worker."""
    port = free_port()
    folder.mkdir(parents=True)
    conf = folder / "nginx.conf"
    conf.write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_buffer_size 64k; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_cache_path {folder}/cache keys_zone=c:10m;
  server {{ listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream}; proxy_cache c; proxy_cache_methods POST; proxy_cache_key $request_uri|$request_body;
      proxy_cache_valid 200 1d; }} }}
}}
""")
    with process(["nginx", "-p", str(folder), "-c", str(conf)], f"http://127.0.0.1:{port}") as url:
        yield url


def load(
    url: str,
    body: dict[str, str],
    *,
    connections: int,
    seconds: float,
    key: str | None = None,
    header: tuple[str, str] | None = None,
    numbered: bool = False,
    refused: bool = False,
) -> Round:
    """A round of wrk's load: the same POST again and again, which is to be `refused` or not; `numbered` adds a header
    that differs each time."""
    script = Path("/tmp") / f"sayonce-bench-{os.getpid()}.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = {json.dumps(json.dumps(body))}\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        + (f'wrk.headers["Authorization"] = "Bearer {key}"\n' if key else "")
        + (f'wrk.headers["{header[0]}"] = "{header[1]}"\n' if header else "")
        + (_NUMBERED if numbered else "")
    )
    command = [
        "taskset",
        "-c",
        LOAD,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
    ]
    told = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    script.unlink()
    if ("Non-2xx" in told) != refused:
        raise RuntimeError(f"{url} refused the load, or did not: {told}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert rate is not None
    return Round(float(rate[1]), _latency(told, "50%"), _latency(told, "99%"))


def burst(
    url: str,
    body: dict[str, str],
    *,
    connections: int,
    requests: int,
    key: str,
    header: tuple[str, str] | None = None,
    refused: bool = False,
) -> float:
    """Answers a second of h2load's short round of so many requests: short, so that two servers can be asked in turn
    many times within the same breath of the machine."""
    headers = [
        ("content-type", "application/json"),
        ("authorization", f"Bearer {key}"),
        *([header] if header else ()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "body"
        asked.write_text(json.dumps(body))
        options = ["-p", "http/1.1", "-t1", f"-c{connections}", f"-n{requests}", "-d", str(asked)]
        named = [part for name, value in headers for part in ("-H", f"{name}: {value}")]
        command = ["taskset", "-c", LOAD, "h2load", *options, *named, url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", told)
    if rate is None or f" {requests} {'4xx' if refused else '2xx'}" not in told:
        raise RuntimeError(f"{url} refused the load, or did not: {told}")
    return float(rate[1])


def tail(url: str, body: dict[str, str], *, connections: int, seconds: int, rate: float, key: str) -> float:
    """The 99th percentile in milliseconds under h2load's load of `rate` requests a second."""
    with tempfile.TemporaryDirectory() as folder:
        asked, log = Path(folder) / "body", Path(folder) / "log"
        asked.write_text(json.dumps(body))
        options = ["-p", "http/1.1", "-t1", f"-c{connections}", f"-D{seconds}", f"--rps={rate / connections:.3f}"]
        headers = ["-H", "content-type: application/json", "-H", f"authorization: Bearer {key}"]
        command = ["taskset", "-c", LOAD, "h2load", *options, *headers, "-d", str(asked), f"--log-file={log}", url]
        subprocess.run(command, capture_output=True, check=True)
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    if len(times) < 0.9 * rate * seconds:
        raise RuntimeError(f"{url} answered {len(times) / seconds:.0f} a second of {rate:.0f}")
    return times[len(times) * 99 // 100] / 1_000


def middle(values: list[float]) -> str:
    """Median, and the spread from the least to the most."""
    return f"{statistics.median(values):,.3g} ({min(values):,.3g} to {max(values):,.3g})"


def machine() -> str:
    """What it was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _latency(told: str, line: str) -> float:
    found = re.search(rf"\s{line}\s+([\d.]+)(us|ms|s)", told)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _await(url: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise RuntimeError(f"{running.args!r} ended with {running.returncode}")
        try:
            httpx.get(f"{url}/api/health", timeout=1)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url} does not answer")

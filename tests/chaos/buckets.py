"""A server of S3 in a process of its own, and a bucket in it that a test may take away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx

from sayonce.testing.servers import free_socket
from sayonce.testing.waiting import DEADLINE
from tests.chaos.relay import Relay


class Bucket:
    """A bucket that gateways reach through a relay, and tests past it."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.relay = Relay(port)
        self._direct = f"http://127.0.0.1:{port}/{name}"

    def make(self) -> None:
        """Makes it, empty; the test may read in it without a key."""
        httpx.put(self._direct).raise_for_status()
        all_of_it = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
        httpx.put(f"{self._direct}?policy", json={"Statement": [all_of_it]}).raise_for_status()

    def settings(self) -> dict[str, str]:
        """What reaches it, as a gateway's environment."""
        return {
            "SAYONCE_STORAGE": "speech",
            "SAYONCE_STORAGES__SPEECH__URL": f"s3://{self.name}",
            "SAYONCE_STORAGES__SPEECH__TIMEOUT": "20",
            "SAYONCE_STORAGE_PATIENCE": "20",  # a busy machine is no trouble of the storage's
            "AWS_ENDPOINT_URL": self.relay.url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a secret that nobody is to see",
        }

    async def read(self, path: str) -> bytes | None:
        """The object at a path; None where there is none."""
        async with httpx.AsyncClient(timeout=DEADLINE) as http:
            answer = await http.get(f"{self._direct}/{path}")
            return None if answer.status_code == 404 else answer.raise_for_status().content


@contextmanager
def bucket_server() -> Iterator[int]:
    """A server that verifies no signature, and keeps all in its memory; its port."""
    with closing(free_socket()) as probe:
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_answer(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 4 * DEADLINE  # it takes its time to load, and four may do so at once
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/moto-api/data.json")
            return
        except httpx.TransportError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)

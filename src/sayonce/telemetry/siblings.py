"""The workers of one machine are one gateway: whichever Prometheus asks tells of all.

Each worker tells its own metrics at a Unix socket in a folder that they share; the one that is asked adds them up.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client.metrics_core import Metric

#: Metrics of one worker, as JSON carries them: name, kind, meaning, and samples of name, labels and value.
Families: TypeAlias = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]

# How long a worker that hangs is waited for, in seconds.
_PATIENCE = 1.0
# Where the sum over the workers would say nothing.
_TOGETHER: dict[str, Callable[[Iterable[float]], float]] = {
    "sayonce_build_info": max,
    "sayonce_feed_lag_seconds": max,
    "sayonce_upstream_open": max,
    "sayonce_redis_up": min,
    "sayonce_storage_writable": min,
}


class Siblings:
    """The workers with a socket in `folder`, of whom this process is number `number`."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._own = folder / f"{number}.sock"

    @asynccontextmanager
    async def telling(self, own: Callable[[], Iterable[Metric]]) -> AsyncIterator[None]:
        """Tells the others what `own` gives, as long as this is entered."""

        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(json.dumps(families(own())).encode())
            writer.write_eof()
            await writer.drain()
            writer.close()

        self._own.unlink(missing_ok=True)  # of one in this place that died
        server = await asyncio.start_unix_server(tell, self._own)
        async with server:
            yield
        self._own.unlink(missing_ok=True)

    async def heard(self) -> list[Families]:
        """What the others tell. One that has just died, or hangs, is left out."""
        others = [path for path in sorted(self._folder.glob("*.sock")) if path != self._own]
        told = await asyncio.gather(*(_hear(path) for path in others))
        return [each for each in told if each is not None]


async def _hear(path: Path) -> Families | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                told: Families = json.loads(await reader.read())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return told


def families(metrics: Iterable[Metric]) -> Families:
    """Metrics as JSON can carry them."""
    return [
        (each.name, each.type, each.documentation, [(s.name, dict(s.labels), s.value) for s in each.samples])
        for each in metrics
    ]


def together(told: Sequence[Families]) -> list[Metric]:
    """The metrics of several workers as if they were one."""
    found: dict[str, Metric] = {}
    values: defaultdict[tuple[str, str, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
    for name, kind, meaning, samples in (family for each in told for family in each):
        found.setdefault(name, Metric(name, meaning, kind))
        for sample, labels, value in samples:
            values[name, sample, tuple(labels.items())].append(value)
    for (name, sample, pairs), given in values.items():
        add: Any = min if sample.endswith("_created") else _TOGETHER.get(sample, sum)
        found[name].add_sample(sample, dict(pairs), add(given))
    return list(found.values())

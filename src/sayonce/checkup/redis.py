"""Is Redis there, is it new enough, and does it keep what it is told?"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from sayonce.checkup.clock import Clocks
from sayonce.checkup.findings import Finding, Part
from sayonce.errors import ClusterUnavailable, InvalidSettings, MissingExtra
from sayonce.settings import Settings

PART = Part("redis")

# From which version on nothing is added to a stream that is gone.
_NEEDED = (6, 2)


async def findings(settings: Settings, clocks: Clocks) -> AsyncGenerator[Finding, None]:
    """What can be said of the settings' Redis."""
    assert settings.redis_url is not None
    try:
        from sayonce.cluster.redis.link import Link  # an extra

        link = Link(settings.redis_url, max(settings.redis_patience, 5.0), _nobody)
    except (InvalidSettings, MissingExtra) as error:
        yield PART.failed("set up", error)
        return
    try:
        told = await link.ask(lambda redis: redis.info())
        seconds, micros = await link.ask(lambda redis: redis.time())
    except ClusterUnavailable as error:
        yield PART.failed("reached", error)
    else:
        clocks.add(PART.name, seconds + micros / 1e6 - time.time())
        for finding in of(told):
            yield finding
    finally:
        await link.aclose()


def of(told: Mapping[str, Any]) -> Iterator[Finding]:
    """What is said of a Redis that says this of itself."""
    version = str(told.get("redis_version", "?"))
    yield PART.ok("reached", f"It is there, version {version}.")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _NEEDED:
        yield PART.wrong("version", f"Version {version} is too old.", "Run Redis 6.2 or later, or Valkey.")
    if told.get("role") not in (None, "master"):
        yield PART.wrong("role", "It is a replica, which cannot be written to.", "Name the primary in REDIS_URL.")
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        said = f"When it is full it drops any key ({policy}): the queue's, too."
        yield PART.warning("policy", said, "Set maxmemory-policy to volatile-ttl or noeviction.")


async def _nobody() -> str:
    return "doctor"

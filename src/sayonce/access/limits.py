"""How often a tenant may ask."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sayonce.catalog.records import Tenant
from sayonce.errors import RateLimited

# How many tenants' buckets are kept; one that was dropped comes back full.
_MOST = 10_000


class RateLimits:
    """A token bucket a tenant: `rate` requests a second, up to `burst` at once. None: no limit. The tenant's own
    figures go before these. `clock` is monotonic."""

    def __init__(self, rate: float | None, burst: float | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, tenant: Tenant) -> None:
        """Takes one request from the tenant's bucket; RateLimited where it is empty."""
        rate = tenant.rate if tenant.rate is not None else self._rate
        if rate is None:
            return
        burst = tenant.burst or self._burst or max(rate, 1.0)
        now = self._clock()
        tokens, then = self._buckets.get(tenant.id, (burst, now))
        tokens = min(burst, tokens + (now - then) * rate)
        if tokens < 1.0:
            self._put(tenant.id, (tokens, now))
            raise RateLimited(
                "Too many requests.",
                retry_after=(1.0 - tokens) / rate if rate > 0 else 3_600.0,
                remedy=f"This tenant may ask {rate:g} times a second.",
            )
        self._put(tenant.id, (tokens - 1.0, now))

    def _put(self, tenant: str, bucket: tuple[float, float]) -> None:
        self._buckets[tenant] = bucket
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)

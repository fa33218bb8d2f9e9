"""Tells the tally, the metrics and the log what the engine does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sayonce.cache.flights import Flight
from sayonce.cache.orders import Clip, Order, Outcome
from sayonce.cache.tally import Tally
from sayonce.catalog.records import MICROS, UsageKey
from sayonce.errors import CatalogError, ProviderError, SayonceError, StorageError
from sayonce.telemetry.events import Generation, TextNames, emit
from sayonce.telemetry.logs import get_logger
from sayonce.telemetry.metrics import Metrics

_log = get_logger("sayonce.engine")


class Watch:
    """`clock` gives seconds since 1970; durations are measured by the process's own."""

    def __init__(self, tally: Tally, metrics: Metrics, names: TextNames, clock: Callable[[], float]) -> None:
        self.tally = tally
        self.metrics = metrics
        self._names = names
        self.now = clock
        #: Why there is no hot lane; None where there is one.
        self.lane_objection: str | None = "It was never started."

    # ── answers ──────────────────────────────────────────────────────────────────────────────────

    def hit(self, clip: Clip) -> None:
        """An answer from what is kept. On the path of every hit: two additions and a dictionary entry."""
        asset = clip.asset
        self.metrics.answers["hit"] += 1
        self.metrics.saved += asset.cost or 0
        self.tally.hit(asset)

    def live(self, order: Order, outcome: Outcome) -> None:
        """An answer whose first byte has come. What is spoken ahead of time answers nobody: it is paid for, and that
        is all that is counted of it."""
        if order.steering.wished:
            return
        if outcome is Outcome.JOINED:
            self._saved(self._key(order), order.price(order.recipe))
        else:
            self.metrics.answers[outcome] += 1
            self.tally.count(outcome, self._key(order))

    # ── flights ──────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def flight(self, flight: Flight) -> Iterator[None]:
        """Watches a flight from take-off to its end."""
        flight.times.began = time.perf_counter()
        try:
            yield
        except SayonceError as error:
            self._failed(flight, error.code)
            raise
        except BaseException as error:
            self._failed(flight, type(error).__name__)
            raise
        self._landed(flight)

    @contextmanager
    def keeping(self, flight: Flight) -> Iterator[None]:
        """Watches a blob and its row being written."""
        began = time.perf_counter()
        yield
        flight.times.kept = time.perf_counter() - began
        self.metrics.keeping_seconds.observe(flight.times.kept)

    def failed_attempt(self, flight: Flight, error: ProviderError) -> None:
        """A try failed before its first byte; there may be another."""
        upstream = flight.order.provider.upstream.name
        self.metrics.failed_attempts.labels(upstream, error.code).inc()
        _log.info("attempt.failed", provider=upstream, error=error.code, reason=error.message)

    def stood_in(self, asked: Order, answer: Order) -> None:
        """Another upstream of the chain answered."""
        self.metrics.substitutions.labels(asked.provider.upstream.name, answer.provider.upstream.name).inc()

    def waits(self) -> None:
        """A flight waits for another process's."""
        self.metrics.waits.inc()

    def wasted(self, flight: Flight) -> None:
        """A provider spoke, and will bill it, but what came cannot be used."""
        self._paid(flight)
        _log.warning("audio.wasted", provider=flight.order.provider.upstream.name)

    def implausible(self, flight: Flight) -> None:
        """An answer was too long or too short for its text, and is not kept this time."""
        upstream = flight.order.provider.upstream.name
        self.metrics.implausible.labels(upstream).inc()
        _log.warning("audio.implausible", provider=upstream, content_hash=flight.order.content_hash.hex())

    def fence_lost(self, flight: Flight) -> None:
        """A flight could not land."""
        self.metrics.fences_lost.inc()
        _log.warning("fence.lost", content_hash=flight.order.content_hash.hex())

    def bypass(self, part: str, error: CatalogError | StorageError) -> None:
        """A part of the cache was gone around."""
        self.metrics.bypasses.labels(part, error.code).inc()
        _log.warning("cache.bypassed", part=part, error=error.code, reason=error.message)

    def bug(self, error: BaseException) -> None:
        """A flight ended in an error that should not be."""
        self.metrics.bugs.inc()
        _log.error("bug", error=type(error).__name__, exc_info=error)

    # ── within ───────────────────────────────────────────────────────────────────────────────────

    def _landed(self, flight: Flight) -> None:
        upstream = flight.order.provider.upstream.name
        if not flight.spoken:
            return  # Somebody else spoke, and counted it.
        elapsed = time.perf_counter() - flight.times.began
        self.metrics.generations.labels(upstream, "success").inc()
        self.metrics.generation_seconds.labels(upstream).observe(elapsed)
        self.metrics.first_byte_seconds.labels(upstream).observe(flight.times.first_byte or elapsed)
        self._paid(flight)
        emit(self._event(flight, elapsed, None))

    def _paid(self, flight: Flight) -> None:
        upstream, characters = flight.order.provider.upstream.name, len(flight.said.text)
        price = flight.order.price(flight.said) or 0
        self.metrics.characters.labels(upstream).inc(characters)
        self.metrics.spent.labels(upstream).inc(price / MICROS)
        count = self.tally.of(self._key(flight.order))
        count.characters += characters
        count.spent_micros += price

    def _failed(self, flight: Flight, error: str) -> None:
        upstream = flight.order.provider.upstream.name
        self.metrics.generations.labels(upstream, error).inc()
        self.tally.of(self._key(flight.order)).errors += 1
        emit(self._event(flight, time.perf_counter() - flight.times.began, error))

    def _event(self, flight: Flight, elapsed: float, error: str | None) -> Generation:
        recipe, times = flight.order.recipe, flight.times
        return Generation(
            business_id=recipe.owner.tenant,
            provider=flight.order.provider.upstream.name,
            model=recipe.model,
            voice_id=recipe.voice,
            text_hash=self._names.name(recipe.text),
            characters=len(recipe.text),
            content_hash=flight.order.content_hash.hex(),
            outcome=str(flight.outcome),
            cached=False,
            latency_ms=round(elapsed * 1000, 3),
            first_byte_ms=None if times.first_byte is None else round(times.first_byte * 1000, 3),
            storage_upload_ms=None if times.kept is None else round(times.kept * 1000, 3),
            success=error is None,
            error=error,
            cost_micros=flight.order.price(flight.said),
        )

    def _saved(self, key: UsageKey, cost: int | None) -> None:
        self.metrics.answers["joined"] += 1
        self.metrics.saved += cost or 0
        self.tally.count(Outcome.JOINED, key).saved_micros += cost or 0

    def _key(self, order: Order) -> UsageKey:
        recipe = order.recipe
        return self.tally.key(recipe.owner.tenant, order.provider.upstream.name, recipe.model, recipe.voice)

"""Prometheus metrics for everything that someone would alert on.

What a hit must count is a plain number, read when Prometheus asks. Labels are bounded: upstreams and error codes,
never a tenant, a voice or a text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sayonce.telemetry.siblings import Families, families, together

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


#: The doors that the hot lane is before.
LANE_DOORS = ("openai", "elevenlabs", "deepgram", "message", "audio")


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        #: Answers by outcome (hit, joined, miss, bypass, disabled): plain numbers, counted without a lock.
        self.answers: dict[str, int] = dict.fromkeys(("hit", "joined", "miss", "bypass", "disabled"), 0)
        #: What the hot lane answered by door, and what it let go the whole way by door and reason.
        self.lane_answered: dict[str, int] = dict.fromkeys(LANE_DOORS, 0)
        self.lane_declined: defaultdict[tuple[str, str], int] = defaultdict(int)
        #: What hits and joins would have cost, in millionths of the currency.
        self.saved = 0
        self.refusals = Counter(
            "sayonce_errors", "Requests answered with an error, by its code.", ["code"], registry=registry
        )
        self.generations = Counter(
            "sayonce_generations", "Generations that ended, by how.", ["upstream", "result"], registry=registry
        )
        self.generation_seconds = Histogram(
            "sayonce_generation_seconds",
            "From take-off to the last byte.",
            ["upstream"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.first_byte_seconds = Histogram(
            "sayonce_first_byte_seconds",
            "From take-off to the first byte.",
            ["upstream"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.keeping_seconds = Histogram(
            "sayonce_keeping_seconds", "Writing a blob and its row.", buckets=_SECONDS, registry=registry
        )
        self.characters = Counter(
            "sayonce_characters_spoken", "Characters paid for.", ["upstream"], registry=registry
        )
        self.spent = Counter(
            "sayonce_spent", "What generations cost, in the settings' currency.", ["upstream"], registry=registry
        )
        self.failed_attempts = Counter(
            "sayonce_failed_attempts",
            "Tries of a generation that failed before their first byte, by the error.",
            ["upstream", "error"],
            registry=registry,
        )
        self.substitutions = Counter(
            "sayonce_substitutions",
            "Answers by another upstream of the chain than the one that was asked.",
            ["asked", "upstream"],
            registry=registry,
        )
        self.bypasses = Counter(
            "sayonce_bypasses", "Times a part of the cache was gone around.", ["part", "error"], registry=registry
        )
        self.fences_lost = Counter(
            "sayonce_fences_lost", "Flights that could not land: their lease was another's.", registry=registry
        )
        self.waits = Counter(
            "sayonce_waits_for_others", "Flights that waited for another process's.", registry=registry
        )
        self.implausible = Counter(
            "sayonce_implausible", "Answers too long or too short for their text.", ["upstream"], registry=registry
        )
        self.bugs = Counter("sayonce_bugs", "Errors that should not be.", registry=registry)
        self.flush_failures = Counter(
            "sayonce_flush_failures", "Times that usage could not be written.", registry=registry
        )
        Info("sayonce_build", "The version that runs.", registry=registry).info({"version": version})
        registry.register(_Plain(self))

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge that is read when Prometheus asks."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def watch_upstreams(self, name: str, what: str, read: Callable[[], Mapping[str, float]]) -> None:
        """A gauge an upstream, all read when Prometheus asks."""
        self.registry.register(_Upstreams(name, what, read))

    def render(self, others: Sequence[Families] = ()) -> tuple[bytes, str]:
        """The page that Prometheus reads, of this process and of others beside it, and its content type."""
        if not others:
            return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
        return generate_latest(_Sum(self.registry, others)), CONTENT_TYPE_PLAIN_0_0_4


class _Sum(CollectorRegistry):
    """A registry's metrics together with those of others."""

    def __init__(self, own: CollectorRegistry, others: Sequence[Families]) -> None:
        super().__init__()
        self._own = own
        self._others = others

    def collect(self) -> Iterator[Metric]:
        yield from together([families(self._own.collect()), *self._others])


class _Upstreams(Collector):
    """A gauge with the label `upstream`."""

    def __init__(self, name: str, what: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._what = what
        self._read = read

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(self._name, self._what, labels=["upstream"])
        for upstream, value in self._read().items():
            gauge.add_metric([upstream], value)
        yield gauge


class _Plain(Collector):
    """Turns the plain numbers into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "sayonce_answers", "Audio answers, by where they came from.", labels=["outcome"]
        )
        for outcome, count in self._metrics.answers.items():
            answers.add_metric([outcome], count)
        yield answers
        yield from self._lane()
        yield CounterMetricFamily(
            "sayonce_saved",
            "What hits and joins would have cost, in the settings' currency.",
            value=self._metrics.saved / 1_000_000,
        )

    def _lane(self) -> Iterator[Metric]:
        answered = CounterMetricFamily(
            "sayonce_lane_answered", "Requests that the hot lane answered.", labels=["door"]
        )
        for door, count in self._metrics.lane_answered.items():
            answered.add_metric([door], count)
        declined = CounterMetricFamily(
            "sayonce_lane_declined",
            "Requests that the hot lane let go the whole way, by why.",
            labels=["door", "reason"],
        )
        for labels, count in self._metrics.lane_declined.items():
            declined.add_metric(labels, count)
        yield from (answered, declined)


def table(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Name, kind and meaning of each metric, for the docs."""
    return sorted(
        (metric.name, metric.type, metric.documentation)
        for metric in metrics.registry.collect()
        if isinstance(metric, Metric)
    )

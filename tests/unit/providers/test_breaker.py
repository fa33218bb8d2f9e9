"""The circuit breaker: when it opens, for how long, and what a probe decides."""

from __future__ import annotations

import pytest

from sayonce.errors import ProviderError, ProviderRateLimited, ProviderRefused, ProviderResting, ProviderUnavailable
from sayonce.providers.breaker import Breaker, Rules, State

DOWN = ProviderUnavailable("down", provider="x")
REFUSED = ProviderRefused("no", provider="x")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("x", Rules(failures=3, rest=10.0), clock)


def call(breaker: Breaker, *errors: ProviderError | None) -> None:
    for error in errors:
        try:
            with breaker.call():
                if error is not None:
                    raise error
        except (ProviderUnavailable, ProviderRefused, ProviderRateLimited) as told:
            if told is not error:
                raise


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    call(breaker, DOWN, DOWN)
    assert breaker.state is State.CLOSED
    call(breaker, DOWN)
    assert breaker.state is State.OPEN
    with pytest.raises(ProviderResting) as told:
        call(breaker, None)
    assert told.value.retry_after == 10.0


def test_a_success_begins_the_count_anew(breaker: Breaker) -> None:
    call(breaker, DOWN, DOWN, None, DOWN, DOWN)
    assert breaker.state is State.CLOSED


def test_half_of_the_calls_of_a_minute_open_it(breaker: Breaker, clock: Clock) -> None:
    call(breaker, *(DOWN, None) * 4)
    assert breaker.state is State.CLOSED, "eight calls tell nothing"
    call(breaker, DOWN, DOWN)
    assert breaker.state is State.OPEN


def test_what_failed_long_ago_is_forgotten(breaker: Breaker, clock: Clock) -> None:
    call(breaker, *(DOWN, None) * 4)
    clock.now += 61
    call(breaker, DOWN, DOWN)
    assert breaker.state is State.CLOSED


def test_what_the_caller_did_wrong_is_no_failure(breaker: Breaker) -> None:
    call(breaker, *[REFUSED] * 20)
    assert breaker.state is State.CLOSED


def test_one_probe_decides_and_the_rest_doubles(breaker: Breaker, clock: Clock) -> None:
    call(breaker, DOWN, DOWN, DOWN)
    clock.now += 10
    assert breaker.state is State.HALF_OPEN
    with breaker.call(), pytest.raises(ProviderResting):
        call(breaker, None)  # while the probe is out, nobody else
    assert breaker.state is State.CLOSED
    call(breaker, DOWN, DOWN, DOWN)
    clock.now += 10
    call(breaker, DOWN)
    assert breaker.resting == 20.0
    clock.now += 20
    call(breaker, None)
    assert breaker.state is State.CLOSED
    call(breaker, DOWN, DOWN, DOWN)
    assert breaker.resting == 10.0, "a success also forgets how long it rested"


def test_a_probe_that_was_called_off_decides_nothing(breaker: Breaker, clock: Clock) -> None:
    call(breaker, DOWN, DOWN, DOWN)
    clock.now += 10
    with pytest.raises(KeyboardInterrupt), breaker.call():
        raise KeyboardInterrupt
    assert breaker.state is State.HALF_OPEN
    call(breaker, None)
    assert breaker.state is State.CLOSED


def test_who_asks_for_patience_is_given_it(breaker: Breaker, clock: Clock) -> None:
    call(breaker, ProviderRateLimited("slow down", provider="x", retry_after=30.0))
    assert breaker.resting == 30.0
    with pytest.raises(ProviderResting, match="has asked for patience"):
        call(breaker, None)
    clock.now += 30
    call(breaker, None)
    assert breaker.state is State.CLOSED
    call(breaker, ProviderRateLimited("slow down", provider="x", retry_after=None))
    assert breaker.state is State.CLOSED, "without a time it is a failure like any other"


def test_what_began_before_it_opened_changes_nothing(breaker: Breaker, clock: Clock) -> None:
    with breaker.call():
        call(breaker, DOWN, DOWN, DOWN)
        clock.now += 4
    assert breaker.resting == 6.0
